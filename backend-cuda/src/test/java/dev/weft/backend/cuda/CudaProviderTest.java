package dev.weft.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DeviceOptions;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.gpu.fixtures.GpuProviderContract;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.spi.DeviceDescriptor;
import org.junit.jupiter.api.Test;

class CudaProviderTest extends GpuProviderContract {
  CudaProviderTest() {
    super(new CudaProvider(), "cuda", 200);
  }

  @Test
  void refusesImagesThatItDoesNotKnow() {
    DeviceDescriptor first = DeviceDescriptor.builder(0, "any", DeviceDescriptor.Kind.GPU).build();
    assertThrows(
        IllegalArgumentException.class,
        () -> provider.open(first, DeviceOptions.builder().property("image", "sass").build()));
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
