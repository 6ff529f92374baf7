package dev.weft.backend.vulkan;

import dev.weft.spi.Probe;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Assumptions;

/** The Vulkan device that tests run on: the first of this machine, under the validation layer. */
public final class PresentDevice {
  private PresentDevice() {}

  /**
   * Skips the caller, with the reason, where there is no device or no validation layer; fails where
   * there must be: in continuous integration, and where {@code ./weft test} installed them.
   */
  public static void required() {
    if (new VulkanProvider().probe() instanceof Probe.Unavailable none) {
      String reason = "no Vulkan device: " + none.reason() + "; " + none.remedy();
      if (isSet("WEFT_EXPECT_VULKAN") || isSet("CI")) {
        Assertions.fail(reason);
      }
      Assumptions.abort(reason);
    }
  }

  private static boolean isSet(String variable) {
    String value = System.getenv(variable);
    return value != null && !value.isBlank() && !value.equals("0") && !value.equals("false");
  }
}
