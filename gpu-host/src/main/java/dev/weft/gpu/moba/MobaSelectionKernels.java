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
 * The two kernels of selection, whichever the device has: their parameters are the same.
 *
 * @param few of at most {@link MobaTiles#FEW} blocks
 * @param any of any number
 * @param rows query rows of a tile
 * @param groupSize work-items of a group
 */
record MobaSelectionKernels(ComputeKernel few, ComputeKernel any, int rows, int groupSize) {
  private static final int WAVES = 4;
  private static final int WAVE = 32;
  private static final int KEYS = 32;

  /** What moba/select_units needs at most: see there. */
  private static final long COOPERATIVE_LOCAL_BYTES = 22_000;

  static MobaSelectionKernels of(ComputeDevice device, MobaAttentionSpec spec, MobaTiles tiles) {
    ComputeTraits traits = device.traits();
    boolean cooperative =
        traits.matrixUnits() == MatrixUnits.COOPERATIVE
            && device.hasRowsInQuads()
            && spec.dataType() != DataType.F32
            && traits.localBytes() >= COOPERATIVE_LOCAL_BYTES
            && traits.mostGroupSize() >= WAVES * WAVE;
    int rows = cooperative ? tiles.width() == MobaTiles.MOST_WIDTH ? 32 : 64 : tiles.rows();
    KernelName name =
        cooperative
            ? KernelName.of("moba/select_units", "moba_select_few")
                .with("TYPE", TensorLayout.typeCode(spec.dataType()))
                .with("MATRIX", traits.matrixUnits().code())
                .with("WAVE", WAVE)
                .with("WAVES", WAVES)
                .with("WIDTH", tiles.width())
                .with("ROWS", rows)
                .with("KEYS", KEYS)
            : tiles.kernel("moba/select", "moba_select_few", traits);
    List<ComputeKernel> kernels = device.kernels(List.of(name, name.function("moba_select_any")));
    return new MobaSelectionKernels(
        kernels.get(0), kernels.get(1), rows, cooperative ? WAVES * WAVE : tiles.groupSize(traits));
  }
}
