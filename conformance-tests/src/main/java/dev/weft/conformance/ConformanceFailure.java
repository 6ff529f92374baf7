package dev.weft.conformance;

import java.io.Serial;

/** A provider did not do what the contract says. */
public final class ConformanceFailure extends AssertionError {
  @Serial private static final long serialVersionUID = 1;

  /**
   * Creates a failure.
   *
   * @param message what was wrong, with the numbers
   */
  public ConformanceFailure(String message) {
    super(message);
  }

  ConformanceFailure(String message, Throwable cause) {
    super(message, cause);
  }
}
