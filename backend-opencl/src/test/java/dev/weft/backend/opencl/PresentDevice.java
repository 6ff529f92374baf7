package dev.weft.backend.opencl;

import dev.weft.DeviceOptions;
import dev.weft.gpu.ComputeDevice;
import dev.weft.spi.Probe;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Assumptions;

/** The OpenCL device that tests run on: the first of this machine. */
public final class PresentDevice {
  private PresentDevice() {}

  /**
   * Skips the caller, with the reason, where there is no device; fails where one must be: in
   * continuous integration, and where {@code ./weft test} installed a driver.
   */
  public static void required() {
    if (new OpenClProvider().probe() instanceof Probe.Unavailable none) {
      String reason = "no OpenCL device: " + none.reason() + "; " + none.remedy();
      if (isSet("WEFT_EXPECT_OPENCL") || isSet("CI")) {
        Assertions.fail(reason);
      }
      Assumptions.abort(reason);
    }
  }

  private static boolean isSet(String variable) {
    String value = System.getenv(variable);
    return value != null && !value.isBlank() && !value.equals("0") && !value.equals("false");
  }

  /** Opens it, or skips or fails the caller as {@link #required()} does. */
  public static ComputeDevice open() {
    required();
    OpenClProvider provider = new OpenClProvider();
    if (provider.probe() instanceof Probe.Available found) {
      return (ComputeDevice) provider.open(found.devices().getFirst(), DeviceOptions.defaults());
    }
    throw new AssertionError("the device has gone");
  }
}
