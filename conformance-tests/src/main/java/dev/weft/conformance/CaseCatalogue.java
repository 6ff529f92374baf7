package dev.weft.conformance;

import java.util.stream.Stream;

/** A list of cases. Pure and cheap: draws no inputs and touches no device. */
@FunctionalInterface
public interface CaseCatalogue {
  /**
   * Lists the cases.
   *
   * @return the cases, always the same, in the same order, with distinct ids
   */
  Stream<ConformanceCase> cases();
}
