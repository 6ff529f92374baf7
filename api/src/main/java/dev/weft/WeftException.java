package dev.weft;

import java.io.Serial;
import org.jspecify.annotations.Nullable;

/** The root of all exceptions of Weft's own. */
public class WeftException extends RuntimeException {
  @Serial private static final long serialVersionUID = 1;

  /**
   * Creates an exception.
   *
   * @param message names the thing, what was expected, what was given, and what to do
   * @param cause the underlying failure, or null
   */
  public WeftException(String message, @Nullable Throwable cause) {
    super(message, cause);
  }
}
