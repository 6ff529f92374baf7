package dev.weft.gpu.moba;

import dev.weft.DataType;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import java.util.List;

/**
 * The kernels of backward's products, whichever the device has: their parameters are the same.
 *
 * @param keysAtOnce keys of a group of the first
 * @param rowsAtOnce query rows of a group of the others
 * @param groupSize work-items of a group
 */
record MobaGradientKernels(
    ComputeKernel keys,
    ComputeKernel listed,
    ComputeKernel own,
    int keysAtOnce,
    int rowsAtOnce,
    int groupSize) {
  private static final int WAVE = 32;
  private static final int WAVES = 4;
  private static final int BLOCK = 16;

  /** Rows of a wave of NVIDIA's kernels. */
  private static final int WAVE_ROWS = 32;

  /** Columns that NVIDIA's kernels have registers for. */
  private static final int MOST_UNIT_WIDTH = 128;

  /** Local memory of NVIDIA's kernels: 128 rows of two tensors, and keys and values that stream. */
  private static final long UNIT_LOCAL_BYTES = 91_000;

  static MobaGradientKernels of(
      ComputeDevice device, MobaAttentionSpec spec, MobaGradientTiles tiles) {
    ComputeTraits traits = device.traits();
    int columns = Math.max(spec.headDim(), spec.valueDim());
    boolean units =
        traits.matrixUnits() == MatrixUnits.NVIDIA_MMA
            && spec.dataType() != DataType.F32
            && columns <= MOST_UNIT_WIDTH
            && traits.localBytes() >= UNIT_LOCAL_BYTES
            && traits.mostGroupSize() >= WAVES * WAVE;
    int keyBlocks = columns <= MOST_UNIT_WIDTH / 2 ? 2 : 1;
    KernelName name =
        units
            ? KernelName.of("moba/backward_mma", "moba_backward_keys")
                .with("TYPE", TensorLayout.typeCode(spec.dataType()))
                .with(
                    "WIDTH", columns <= MOST_UNIT_WIDTH / 2 ? MOST_UNIT_WIDTH / 2 : MOST_UNIT_WIDTH)
                .with("BLOCKS_K", keyBlocks)
                .with("WAVES", WAVES)
                .with("WAVE", WAVE)
                .with("MATRIX", 1)
            : tiles.kernel("moba_backward_keys", traits);
    List<ComputeKernel> kernels =
        device.kernels(
            List.of(
                name, name.function("moba_backward_listed"), name.function("moba_backward_own")));
    return new MobaGradientKernels(
        kernels.get(0),
        kernels.get(1),
        kernels.get(2),
        units ? BLOCK * keyBlocks * WAVES : tiles.side(),
        units ? WAVE_ROWS * WAVES : tiles.side(),
        units ? WAVES * WAVE : tiles.groupSize(traits));
  }
}
