package dev.weft;

import java.io.Serial;
import org.jspecify.annotations.Nullable;

/** No device could be opened: says what was tried, why each did not work, and what to do. */
public final class BackendUnavailableException extends WeftException {
  @Serial private static final long serialVersionUID = 1;

  /**
   * Creates an exception.
   *
   * @param message what was tried, why not, and the remedy
   * @param cause the underlying failure, or null
   */
  public BackendUnavailableException(String message, @Nullable Throwable cause) {
    super(message, cause);
  }
}
