package dev.weft.conformance.moe;

import dev.weft.conformance.CaseCatalogue;
import dev.weft.conformance.ConformanceCase;
import java.util.stream.Stream;

/** The cases of MoE dispatch. */
public final class MoeCatalogue implements CaseCatalogue {
  /** Creates the catalogue. */
  public MoeCatalogue() {}

  @Override
  public Stream<ConformanceCase> cases() {
    return Stream.concat(
        Stream.of(
                MoeRoutingCases.all(),
                MoeExpertCases.all(),
                MoeShapeCases.all(),
                MoeBackwardCases.all())
            .flatMap(scenarios -> scenarios)
            .map(MoeChecks::of),
        MoeLaunchCases.all());
  }
}
