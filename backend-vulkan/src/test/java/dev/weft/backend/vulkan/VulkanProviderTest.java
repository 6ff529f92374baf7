package dev.weft.backend.vulkan;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.BackendUnavailableException;
import dev.weft.DataType;
import dev.weft.DeviceOptions;
import dev.weft.Support;
import dev.weft.Weft;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What holds on every machine, with a device or without. */
class VulkanProviderTest {
  private final VulkanProvider provider = new VulkanProvider();

  @Test
  void isFoundAsAServiceAndChosenForGpusOnly() {
    assertTrue(Weft.discover().toString().contains("vulkan"), Weft.discover()::toString);
    assertEquals("vulkan", provider.id());
    assertEquals(new SpiVersion(1, 0), provider.spiVersion());
    assertEquals(90, priority(DeviceDescriptor.Kind.GPU));
    assertEquals(0, priority(DeviceDescriptor.Kind.CPU));
  }

  private int priority(DeviceDescriptor.Kind kind) {
    return provider.priority(List.of(DeviceDescriptor.builder(0, "any", kind).build()));
  }

  @Test
  void probeFindsDevicesOrSaysWhatIsMissingAndWhatToDo() {
    for (int i = 0; i < 2; i++) { // the second time says the same
      switch (provider.probe()) {
        case Probe.Available found -> assertFalse(found.devices().isEmpty());
        case Probe.Unavailable none -> {
          assertFalse(none.reason().isBlank());
          assertFalse(none.remedy().isBlank());
        }
      }
    }
  }

  @Test
  void aDeviceThatIsNotThereCannotBeOpened() {
    DeviceDescriptor last = DeviceDescriptor.builder(999, "any", DeviceDescriptor.Kind.GPU).build();
    BackendUnavailableException e =
        assertThrows(
            BackendUnavailableException.class, () -> provider.open(last, DeviceOptions.defaults()));
    assertTrue(String.valueOf(e.getMessage()).startsWith("vulkan: "), e.getMessage());
  }

  @Test
  void refusesPropertiesThatItDoesNotKnow() {
    DeviceDescriptor first = DeviceDescriptor.builder(0, "any", DeviceDescriptor.Kind.GPU).build();
    assertThrows(
        IllegalArgumentException.class,
        () -> provider.open(first, DeviceOptions.builder().property("fast", "yes").build()));
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
