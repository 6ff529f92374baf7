package dev.weft.conformance.conv1d;

import dev.weft.conformance.CaseCatalogue;
import dev.weft.conformance.ConformanceCase;
import java.util.stream.Stream;

/** The cases of causal convolution. */
public final class Conv1dCatalogue implements CaseCatalogue {
  /** Creates the catalogue. */
  public Conv1dCatalogue() {}

  @Override
  public Stream<ConformanceCase> cases() {
    return Stream.of(
            new Conv1dForwardCases().cases(),
            new Conv1dUpdateCases().cases(),
            new Conv1dBackwardCases().cases(),
            new Conv1dChainCases().cases())
        .flatMap(cases -> cases);
  }
}
