package dev.weft.backend.vulkan;

import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.backend.vulkan.driver.Vulkan;
import dev.weft.conformance.KernelProviderConformance;
import dev.weft.conformance.Profile;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.spi.KernelProvider;
import java.util.EnumSet;
import java.util.Set;
import org.junit.jupiter.api.BeforeAll;

/**
 * The suite on the first Vulkan device of this machine, which is lavapipe where there is no GPU.
 * The validation layer is on, and what it says fails the case.
 */
class VulkanConformanceTest extends KernelProviderConformance {
  @BeforeAll
  static void needsDevice() {
    assertTrue(Boolean.getBoolean(Vulkan.VALIDATION_PROPERTY), "the validation layer is on");
    PresentDevice.required(new VulkanProvider());
  }

  @Override
  protected KernelProvider provider() {
    return new VulkanProvider();
  }

  @Override
  protected Set<Profile> mandatory() {
    return EnumSet.complementOf(EnumSet.of(Profile.LARGE));
  }
}
