package dev.weft.conformance;

import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What became of a case.
 *
 * @param testCase the case
 * @param status how it ended
 * @param message the failure, with the command that replays it; the reason of any other status but
 *     PASS; of that a remark, mostly empty
 * @param worst the largest error over its bound that any check saw; at most 1 in a passed case
 * @param nanos how long it took
 * @param failure what was thrown, or null
 */
public record CaseOutcome(
    ConformanceCase testCase,
    CaseStatus status,
    String message,
    double worst,
    long nanos,
    @Nullable Throwable failure) {

  /**
   * Returns what was thrown.
   *
   * @return the failure, if there is one
   */
  public Optional<Throwable> thrown() {
    return Optional.ofNullable(failure);
  }
}
