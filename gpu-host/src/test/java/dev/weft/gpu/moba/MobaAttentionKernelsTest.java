package dev.weft.gpu.moba;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;

import dev.weft.DataType;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.fixtures.RecordingDevice;
import dev.weft.moba.MobaAttentionSpec;
import org.junit.jupiter.api.Test;

/** Which kernels of attention a launch gets. */
class MobaAttentionKernelsTest {
  private static final ComputeTraits TRAITS =
      new ComputeTraits(132, 1024, 49_152, MatrixUnits.COOPERATIVE, 32, false);

  private static final int ALIGNED =
      MobaTensors.ALIGNED_Q | MobaTensors.ALIGNED_K | MobaTensors.ALIGNED_V;

  private static MobaAttentionKernels kernels(
      DataType type, int dim, int blockSize, boolean paged) {
    MobaAttentionSpec spec =
        MobaAttentionSpec.builder()
            .dataType(type)
            .heads(4)
            .kvHeads(2)
            .headDim(dim)
            .blockSize(blockSize)
            .topK(3)
            .build();
    MobaTiles tiles = MobaTiles.of(spec, TRAITS).orElseThrow();
    return MobaAttentionKernels.of(new RecordingDevice(TRAITS), spec, tiles, paged);
  }

  @Test
  void alignedRowsHaveKernelsOfTheirOwnWhereTilesDivideTheSizes() {
    MobaAttentionKernels kernels = kernels(DataType.BF16, 128, 128, false);
    assertSame(kernels.whole(), kernels.of(ALIGNED | MobaTensors.ALIGNED_OUT));
    assertSame(kernels.any(), kernels.of(ALIGNED & ~MobaTensors.ALIGNED_V));
    assertEquals(kernels.any(), kernels(DataType.BF16, 128, 96, false).any());
  }

  @Test
  void otherSizesTypesAndTheCacheHaveNone() {
    assertNull(kernels(DataType.BF16, 128, 96, false).whole());
    assertNull(kernels(DataType.F16, 96, 128, false).whole());
    assertNull(kernels(DataType.F32, 128, 128, false).whole());
    assertNull(kernels(DataType.F16, 128, 128, true).whole());
  }
}
