package dev.weft;

import java.io.Serial;
import org.jspecify.annotations.Nullable;

/**
 * The device is gone for good. Sticky: every later call on the device but {@code close()}, {@link
 * Device#isLost()} and {@link Device#info()} throws this again with the first cause.
 */
public final class DeviceLostException extends WeftException {
  @Serial private static final long serialVersionUID = 1;

  /**
   * Creates an exception.
   *
   * @param message what was lost, and during which call
   * @param cause the first cause, or null
   */
  public DeviceLostException(String message, @Nullable Throwable cause) {
    super(message, cause);
  }
}
