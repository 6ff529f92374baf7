package dev.weft.backend.opencl.driver;

import dev.weft.DeviceException;
import dev.weft.DeviceLostException;

/** What OpenCL's return codes mean. */
public final class Status {
  public static final int SUCCESS = 0;
  public static final int DEVICE_NOT_FOUND = -1;
  public static final int MEM_OBJECT_ALLOCATION_FAILURE = -4;
  public static final int OUT_OF_RESOURCES = -5;
  public static final int OUT_OF_HOST_MEMORY = -6;
  public static final int BUILD_PROGRAM_FAILURE = -11;
  public static final int EVENT_FAILED = -14;
  public static final int INVALID_BUFFER_SIZE = -61;
  public static final int PLATFORM_NOT_FOUND = -1001;

  private Status() {}

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

  /**
   * Throws unless a wait succeeded. What fails in a wait failed on the device, and some codes then
   * mean that its context cannot be used any more.
   *
   * @param call the call's name
   * @param code what it returned, or the status of the event waited for
   */
  public static void checkWait(String call, int code) {
    if (code == SUCCESS) {
      return;
    }
    DeviceException failure = failure(call, code);
    throw isLost(code)
        ? new DeviceLostException(
            "the OpenCL device cannot be used any more: " + failure.getMessage(), failure)
        : failure;
  }

  /** The exception for a code. */
  public static DeviceException failure(String call, int code) {
    return new DeviceException(call, code, name(code), null);
  }

  /** Whether a call failed for want of memory on the device or the host. */
  public static boolean isOutOfMemory(int code) {
    return switch (code) {
      case MEM_OBJECT_ALLOCATION_FAILURE,
          OUT_OF_RESOURCES,
          OUT_OF_HOST_MEMORY,
          INVALID_BUFFER_SIZE ->
          true;
      default -> false;
    };
  }

  /** Codes of a wait after which every call in the context fails. */
  static boolean isLost(int code) {
    return switch (code) {
      case -2, // device not available
          OUT_OF_RESOURCES, // NVIDIA and AMD: a kernel that faulted
          -36, // invalid queue: NVIDIA, once a kernel has faulted
          -9999 -> // NVIDIA: illegal access
          true;
      default -> false;
    };
  }

  /** The code's name. */
  public static String name(int code) {
    return switch (code) {
      case 0 -> "CL_SUCCESS";
      case -1 -> "CL_DEVICE_NOT_FOUND";
      case -2 -> "CL_DEVICE_NOT_AVAILABLE";
      case -3 -> "CL_COMPILER_NOT_AVAILABLE";
      case -4 -> "CL_MEM_OBJECT_ALLOCATION_FAILURE";
      case -5 -> "CL_OUT_OF_RESOURCES";
      case -6 -> "CL_OUT_OF_HOST_MEMORY";
      case -7 -> "CL_PROFILING_INFO_NOT_AVAILABLE";
      case -8 -> "CL_MEM_COPY_OVERLAP";
      case -11 -> "CL_BUILD_PROGRAM_FAILURE";
      case -12 -> "CL_MAP_FAILURE";
      case -13 -> "CL_MISALIGNED_SUB_BUFFER_OFFSET";
      case -14 -> "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST";
      case -30 -> "CL_INVALID_VALUE";
      case -31 -> "CL_INVALID_DEVICE_TYPE";
      case -32 -> "CL_INVALID_PLATFORM";
      case -33 -> "CL_INVALID_DEVICE";
      case -34 -> "CL_INVALID_CONTEXT";
      case -35 -> "CL_INVALID_QUEUE_PROPERTIES";
      case -36 -> "CL_INVALID_COMMAND_QUEUE";
      case -37 -> "CL_INVALID_HOST_PTR";
      case -38 -> "CL_INVALID_MEM_OBJECT";
      case -42 -> "CL_INVALID_BINARY";
      case -43 -> "CL_INVALID_BUILD_OPTIONS";
      case -44 -> "CL_INVALID_PROGRAM";
      case -45 -> "CL_INVALID_PROGRAM_EXECUTABLE";
      case -46 -> "CL_INVALID_KERNEL_NAME";
      case -47 -> "CL_INVALID_KERNEL_DEFINITION";
      case -48 -> "CL_INVALID_KERNEL";
      case -49 -> "CL_INVALID_ARG_INDEX";
      case -50 -> "CL_INVALID_ARG_VALUE";
      case -51 -> "CL_INVALID_ARG_SIZE";
      case -52 -> "CL_INVALID_KERNEL_ARGS";
      case -53 -> "CL_INVALID_WORK_DIMENSION";
      case -54 -> "CL_INVALID_WORK_GROUP_SIZE";
      case -55 -> "CL_INVALID_WORK_ITEM_SIZE";
      case -56 -> "CL_INVALID_GLOBAL_OFFSET";
      case -57 -> "CL_INVALID_EVENT_WAIT_LIST";
      case -58 -> "CL_INVALID_EVENT";
      case -59 -> "CL_INVALID_OPERATION";
      case -61 -> "CL_INVALID_BUFFER_SIZE";
      case -63 -> "CL_INVALID_GLOBAL_WORK_SIZE";
      case -64 -> "CL_INVALID_PROPERTY";
      case -1001 -> "CL_PLATFORM_NOT_FOUND_KHR";
      case -9999 -> "an illegal access on an NVIDIA device";
      default -> "an unknown OpenCL error";
    };
  }
}
