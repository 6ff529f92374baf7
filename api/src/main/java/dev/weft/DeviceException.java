package dev.weft;

import java.io.Serial;
import org.jspecify.annotations.Nullable;

/**
 * A native call failed, or a launch failed on the device. A fault found late is thrown by the next
 * wait on its stream, and then names the launches since that stream's last good wait.
 */
public final class DeviceException extends WeftException {
  @Serial private static final long serialVersionUID = 1;

  private final long code;

  /**
   * Creates an exception.
   *
   * @param call the failing call, such as {@code cuLaunchKernel}
   * @param code the native error code
   * @param name the native error's name and what it means, such as {@code
   *     CUDA_ERROR_ILLEGAL_ADDRESS}
   * @param cause the underlying failure, or null
   */
  public DeviceException(String call, long code, String name, @Nullable Throwable cause) {
    super(call + " failed with " + name + " (" + code + ")", cause);
    this.code = code;
  }

  DeviceException(String message, long code, DeviceException cause) {
    super(message, cause);
    this.code = code;
  }

  /**
   * Returns the native error code.
   *
   * @return the code as the native interface gave it
   */
  public long code() {
    return code;
  }
}
