package dev.weft.conformance.moba;

import dev.weft.conformance.CaseCatalogue;
import dev.weft.conformance.ConformanceCase;
import java.util.List;
import java.util.stream.Stream;

/** The cases of MoBA attention: forward, backward and paged. */
public final class MobaCatalogue implements CaseCatalogue {
  /** Creates the catalogue. */
  public MobaCatalogue() {}

  @Override
  public Stream<ConformanceCase> cases() {
    return Stream.of(MobaForwardCases.list(), MobaBackwardCases.list(), MobaPagedCases.list())
        .flatMap(List::stream);
  }
}
