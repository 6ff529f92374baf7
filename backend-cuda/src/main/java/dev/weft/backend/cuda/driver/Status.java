package dev.weft.backend.cuda.driver;

import dev.weft.DeviceException;
import dev.weft.DeviceLostException;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.WeftException;
import jcuda.driver.JCudaDriver;

/** What the driver's return codes mean. */
public final class Status {
  public static final int SUCCESS = 0;
  public static final int OUT_OF_MEMORY = 2;
  public static final int NO_DEVICE = 100;
  public static final int NOT_READY = 600;

  private Status() {}

  /**
   * Throws unless a call succeeded.
   *
   * @param call the driver's name of it
   * @param code what it returned
   */
  public static void check(String call, int code) {
    if (code != SUCCESS) {
      throw failure(call, code);
    }
  }

  /** The exception for a code: the device is lost where its context cannot be used any more. */
  public static WeftException failure(String call, int code) {
    DeviceException failure = new DeviceException(call, code, name(code), null);
    if (code == OUT_OF_MEMORY) { // of the driver's own: a context, a module, a graph
      return new DeviceOutOfMemoryException(String.valueOf(failure.getMessage()));
    }
    return isSticky(code)
        ? new DeviceLostException(
            "the CUDA context cannot be used any more: " + failure.getMessage(), failure)
        : failure;
  }

  /** The code's name and what it means. */
  public static String name(int code) {
    String[] name = new String[1];
    String[] meaning = new String[1];
    if (JCudaDriver.cuGetErrorName(code, name) != SUCCESS || name[0] == null) {
      return "an unknown CUDA error";
    }
    return JCudaDriver.cuGetErrorString(code, meaning) == SUCCESS && meaning[0] != null
        ? name[0] + ", " + meaning[0]
        : name[0];
  }

  /** Whether an image does not fit the device or the driver, so that another may. */
  public static boolean isImageRefused(int code) {
    return switch (code) {
      case 200, 209, 218, 222, 223, 300, 301 -> true; // invalid image, no binary, PTX, source
      default -> false;
    };
  }

  /** Errors after which every call in the context returns the same. */
  static boolean isSticky(int code) {
    return switch (code) {
      case 4, // deinitialized
          46, // device unavailable
          214, // ECC uncorrectable
          220, // NVLink uncorrectable
          700, // illegal address
          702, // launch timeout
          709, // context destroyed
          710, // assert
          714, // hardware stack
          715, // illegal instruction
          716, // misaligned address
          717, // invalid address space
          718, // invalid pc
          719, // launch failed
          721, // contained error
          722 -> // tensor memory leak
          true;
      default -> false;
    };
  }
}
