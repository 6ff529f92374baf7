package dev.weft.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.BackendUnavailableException;
import dev.weft.DeviceOptions;
import dev.weft.Weft;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** What holds on every machine, with a GPU or without. */
class CudaProviderTest {
  private final CudaProvider provider = new CudaProvider();
  private final DeviceDescriptor first =
      DeviceDescriptor.builder(0, "any", DeviceDescriptor.Kind.GPU).build();

  @Test
  void isFoundAsAService() {
    assertTrue(Weft.discover().toString().contains("cuda"), Weft.discover()::toString);
    assertEquals("cuda", provider.id());
    assertEquals(new SpiVersion(1, 0), provider.spiVersion());
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
  void openSaysWhyThereIsNoDevice() {
    Assumptions.assumeTrue(provider.probe() instanceof Probe.Unavailable, "there is a device");
    BackendUnavailableException e =
        assertThrows(
            BackendUnavailableException.class,
            () -> provider.open(first, DeviceOptions.defaults()));
    assertTrue(String.valueOf(e.getMessage()).startsWith("cuda: "), e.getMessage());
  }

  @Test
  void refusesPropertiesThatItDoesNotKnow() {
    assertThrows(
        IllegalArgumentException.class,
        () -> provider.open(first, DeviceOptions.builder().property("imgae", "ptx").build()));
    assertThrows(
        IllegalArgumentException.class,
        () -> provider.open(first, DeviceOptions.builder().property("image", "sass").build()));
  }

  @Test
  void goesBeforeTheProcessorWhereThereIsAGpu() {
    assertTrue(provider.priority() >= 200);
  }

  @Test
  void saysWhatItHasNoKernelsFor() {
    CudaOperations operations = new CudaOperations();
    assertTrue(
        operations.supports(CausalConv1dSpec.builder().channels(5).width(8).build()).isSupported());
    assertFalse(
        operations.supports(CausalConv1dSpec.builder().channels(5).width(9).build()).isSupported());
    assertTrue(operations.supports(attention(256)).isSupported());
    assertFalse(operations.supports(attention(264)).reason().isBlank());
  }

  private static MobaAttentionSpec attention(int headDim) {
    return MobaAttentionSpec.builder()
        .heads(1)
        .kvHeads(1)
        .headDim(headDim)
        .blockSize(64)
        .topK(2)
        .build();
  }
}
