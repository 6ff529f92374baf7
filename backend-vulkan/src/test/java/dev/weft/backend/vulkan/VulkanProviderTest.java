package dev.weft.backend.vulkan;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Support;
import dev.weft.gpu.fixtures.GpuProviderContract;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.Probe;
import org.junit.jupiter.api.Test;

class VulkanProviderTest extends GpuProviderContract {
  VulkanProviderTest() {
    super(new VulkanProvider(), "vulkan", 90);
  }

  /** Drivers were seen to fail when the loader had loaded them some thirty times. */
  @Test
  void aProcessMayProbeAsOftenAsItLikes() {
    PresentDevice.required(provider);
    for (int i = 0; i < 80; i++) {
      Probe probe = provider.probe();
      assertInstanceOf(Probe.Available.class, probe, () -> "the last of several: " + probe);
    }
  }

  @Test
  void saysHowWideRowsMayBe() {
    PresentDevice.required(provider);
    try (BackendDevice device = PresentDevice.open(provider)) {
      Support support =
          device.supports(
              MobaAttentionSpec.builder()
                  .dataType(DataType.F32)
                  .heads(2)
                  .kvHeads(1)
                  .headDim(320)
                  .blockSize(64)
                  .topK(2)
                  .build());
      assertFalse(support.isSupported());
      assertTrue(support.toString().contains("1 to 256"), support::toString);
    }
  }
}
