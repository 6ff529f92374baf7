package dev.weft.backend.vulkan.driver;

import dev.weft.DeviceException;
import dev.weft.DeviceLostException;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.WeftException;

/** What Vulkan's return codes mean. */
public final class Result {
  public static final int SUCCESS = 0;
  public static final int NOT_READY = 1;
  public static final int TIMEOUT = 2;
  public static final int INCOMPLETE = 5;
  public static final int OUT_OF_HOST_MEMORY = -1;
  public static final int OUT_OF_DEVICE_MEMORY = -2;
  public static final int DEVICE_LOST = -4;
  public static final int MEMORY_MAP_FAILED = -5;

  private Result() {}

  /**
   * Throws unless a call succeeded.
   *
   * @param call the call's name
   * @param code what it returned
   */
  public static void check(String call, int code) {
    if (code != SUCCESS) {
      throw failure(call, code);
    }
  }

  /** The exception for a code. */
  public static WeftException failure(String call, int code) {
    DeviceException failure = new DeviceException(call, code, name(code), null);
    if (isOutOfMemory(code)) { // of the driver's own: a pipeline, a device, a submission
      return new DeviceOutOfMemoryException(String.valueOf(failure.getMessage()));
    }
    return code == DEVICE_LOST
        ? new DeviceLostException("the Vulkan device was lost: " + failure.getMessage(), failure)
        : failure;
  }

  /** Whether a call failed for want of memory on the device or the host. */
  public static boolean isOutOfMemory(int code) {
    return code == OUT_OF_DEVICE_MEMORY || code == OUT_OF_HOST_MEMORY || code == MEMORY_MAP_FAILED;
  }

  /** The code's name. */
  public static String name(int code) {
    return switch (code) {
      case 0 -> "VK_SUCCESS";
      case 1 -> "VK_NOT_READY";
      case 2 -> "VK_TIMEOUT";
      case 5 -> "VK_INCOMPLETE";
      case -1 -> "VK_ERROR_OUT_OF_HOST_MEMORY";
      case -2 -> "VK_ERROR_OUT_OF_DEVICE_MEMORY";
      case -3 -> "VK_ERROR_INITIALIZATION_FAILED";
      case -4 -> "VK_ERROR_DEVICE_LOST";
      case -5 -> "VK_ERROR_MEMORY_MAP_FAILED";
      case -6 -> "VK_ERROR_LAYER_NOT_PRESENT";
      case -7 -> "VK_ERROR_EXTENSION_NOT_PRESENT";
      case -8 -> "VK_ERROR_FEATURE_NOT_PRESENT";
      case -9 -> "VK_ERROR_INCOMPATIBLE_DRIVER";
      case -10 -> "VK_ERROR_TOO_MANY_OBJECTS";
      case -13 -> "VK_ERROR_UNKNOWN";
      case -1000012000 -> "VK_ERROR_INVALID_SHADER_NV";
      default -> "an unknown Vulkan error";
    };
  }
}
