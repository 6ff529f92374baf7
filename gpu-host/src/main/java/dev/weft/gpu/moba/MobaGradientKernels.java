package dev.weft.gpu.moba;

import dev.weft.DataType;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The kernels of backward's products, whichever the device has: their parameters are the same.
 *
 * @param any for all tensors
 * @param whole for aligned rows, where tiles divide the spec's sizes and there is a form for that
 * @param keysAtOnce keys of a group of the first
 * @param rowsAtOnce query rows of a group of the others
 * @param groupSize work-items of a group
 */
record MobaGradientKernels(
    Kernels any, @Nullable Kernels whole, int keysAtOnce, int rowsAtOnce, int groupSize) {
  private static final int WAVE = 32;
  private static final int WAVES = 4;
  private static final int BLOCK = 16;

  /** Keys and values that stream by the kernels of cooperative matrices at once. */
  private static final int STREAM = 32;

  private static final int ALL_ALIGNED =
      MobaTensors.ALIGNED_Q
          | MobaTensors.ALIGNED_K
          | MobaTensors.ALIGNED_V
          | MobaTensors.ALIGNED_DOUT;

  /** Rows of a wave of NVIDIA's kernels. */
  private static final int WAVE_ROWS = 32;

  /** Columns that NVIDIA's kernels have registers for. */
  private static final int MOST_UNIT_WIDTH = 128;

  /** Local memory of NVIDIA's kernels: 128 rows of two tensors, and keys and values that stream. */
  private static final long UNIT_LOCAL_BYTES = 91_000;

  /** Local memory of the kernels of cooperative matrices: 128 rows, and where 64 lie. */
  private static final long COOPERATIVE_LOCAL_BYTES = 37_000;

  /**
   * Of keys and values, and of queries by listed and by own blocks.
   *
   * @param keys moba_backward_keys
   * @param listed moba_backward_listed
   * @param own moba_backward_own
   */
  record Kernels(ComputeKernel keys, ComputeKernel listed, ComputeKernel own) {}

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
          false,
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
          spec.headDim() == width(spec)
              && spec.valueDim() == width(spec)
              && spec.blockSize() % STREAM == 0,
          rows,
          rows,
          WAVES * WAVE);
    }
    return of(
        device,
        tiles.kernel("moba_backward_keys", traits),
        false,
        tiles.side(),
        tiles.side(),
        tiles.groupSize(traits));
  }

  private static int width(MobaAttentionSpec spec) {
    boolean narrow = Math.max(spec.headDim(), spec.valueDim()) <= MOST_UNIT_WIDTH / 2;
    return narrow ? MOST_UNIT_WIDTH / 2 : MOST_UNIT_WIDTH;
  }

  private static KernelName ofUnits(String source, MobaAttentionSpec spec, ComputeTraits traits) {
    return KernelName.of(source, "moba_backward_keys")
        .with("TYPE", TensorLayout.typeCode(spec.dataType()))
        .with("WIDTH", width(spec))
        .with("WAVES", WAVES)
        .with("WAVE", WAVE)
        .with("MATRIX", traits.matrixUnits().code());
  }

  private static MobaGradientKernels of(
      ComputeDevice device,
      KernelName keys,
      boolean hasWhole,
      int keysAtOnce,
      int rowsAtOnce,
      int groupSize) {
    List<KernelName> names = new ArrayList<>();
    for (KernelName form : hasWhole ? List.of(keys, keys.with("WHOLE", 1)) : List.of(keys)) {
      names.add(form);
      names.add(form.function("moba_backward_listed"));
      names.add(form.function("moba_backward_own"));
    }
    List<ComputeKernel> kernels = device.kernels(names);
    return new MobaGradientKernels(
        new Kernels(kernels.get(0), kernels.get(1), kernels.get(2)),
        hasWhole ? new Kernels(kernels.get(3), kernels.get(4), kernels.get(5)) : null,
        keysAtOnce,
        rowsAtOnce,
        groupSize);
  }

  /** Those of a launch, by its bits of alignment. */
  Kernels of(int alignment) {
    Kernels kernels = whole;
    return kernels != null && (alignment & ALL_ALIGNED) == ALL_ALIGNED ? kernels : any;
  }
}
