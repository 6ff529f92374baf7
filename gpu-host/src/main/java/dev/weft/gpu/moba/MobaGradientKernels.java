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

  /** Local memory of the kernels of cooperative matrices: 128 rows, and where 64 lie. */
  private static final long COOPERATIVE_LOCAL_BYTES = 37_000;

  static MobaGradientKernels of(
      ComputeDevice device, MobaAttentionSpec spec, MobaGradientTiles tiles) {
    ComputeTraits traits = device.traits();
    int columns = Math.max(spec.headDim(), spec.valueDim());
    boolean narrow = columns <= MOST_UNIT_WIDTH / 2;
    boolean fits =
        spec.dataType() != DataType.F32
            && columns <= MOST_UNIT_WIDTH
            && traits.mostGroupSize() >= WAVES * WAVE;
    int blocks = narrow ? 2 : 1; // of 16 rows that a wave has registers for
    if (fits
        && traits.matrixUnits() == MatrixUnits.NVIDIA_MMA
        && traits.localBytes() >= UNIT_LOCAL_BYTES) {
      return of(
          device,
          ofUnits("moba/backward_mma", spec, traits).with("BLOCKS_K", blocks),
          BLOCK * blocks * WAVES,
          WAVE_ROWS * WAVES,
          WAVES * WAVE);
    }
    if (fits
        && traits.matrixUnits() == MatrixUnits.COOPERATIVE
        && device.hasRowsInQuads()
        && traits.localBytes() >= COOPERATIVE_LOCAL_BYTES) {
      int rows = BLOCK * blocks * WAVES;
      return of(
          device,
          ofUnits("moba/backward_units", spec, traits).with("BLOCKS", blocks),
          rows,
          rows,
          WAVES * WAVE);
    }
    return of(
        device,
        tiles.kernel("moba_backward_keys", traits),
        tiles.side(),
        tiles.side(),
        tiles.groupSize(traits));
  }

  private static KernelName ofUnits(String source, MobaAttentionSpec spec, ComputeTraits traits) {
    boolean narrow = Math.max(spec.headDim(), spec.valueDim()) <= MOST_UNIT_WIDTH / 2;
    return KernelName.of(source, "moba_backward_keys")
        .with("TYPE", TensorLayout.typeCode(spec.dataType()))
        .with("WIDTH", narrow ? MOST_UNIT_WIDTH / 2 : MOST_UNIT_WIDTH)
        .with("WAVES", WAVES)
        .with("WAVE", WAVE)
        .with("MATRIX", traits.matrixUnits().code());
  }

  private static MobaGradientKernels of(
      ComputeDevice device, KernelName keys, int keysAtOnce, int rowsAtOnce, int groupSize) {
    List<ComputeKernel> kernels =
        device.kernels(
            List.of(
                keys, keys.function("moba_backward_listed"), keys.function("moba_backward_own")));
    return new MobaGradientKernels(
        kernels.get(0), kernels.get(1), kernels.get(2), keysAtOnce, rowsAtOnce, groupSize);
  }
}
