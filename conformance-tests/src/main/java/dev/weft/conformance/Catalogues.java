package dev.weft.conformance;

import dev.weft.conformance.conv1d.Conv1dCatalogue;
import dev.weft.conformance.device.DeviceCatalogue;
import dev.weft.conformance.moba.MobaCatalogue;
import dev.weft.conformance.moe.MoeCatalogue;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** The suite's catalogues, in the order of reports. */
final class Catalogues {
  private Catalogues() {}

  /** All cases of the suite. */
  static List<ConformanceCase> all() {
    return casesOf(
        List.of(
            new DeviceCatalogue(), new Conv1dCatalogue(), new MobaCatalogue(), new MoeCatalogue()));
  }

  /** The cases of some catalogues; an id that occurs twice is a mistake of the suite. */
  static List<ConformanceCase> casesOf(List<CaseCatalogue> catalogues) {
    List<ConformanceCase> cases = new ArrayList<>();
    Set<String> ids = new HashSet<>();
    for (CaseCatalogue catalogue : catalogues) {
      catalogue
          .cases()
          .forEach(c -> {
            if (!ids.add(c.id())) {
              throw new IllegalStateException("two conformance cases have the id " + c.id());
            }
            cases.add(c);
          });
    }
    return List.copyOf(cases);
  }
}
