package dev.weft.gpu.moba;

import dev.weft.DataType;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Optional;

/**
 * The tiles of attention on Vulkan's cooperative matrices: the constants that
 * moba/attend_units.comp is compiled with, and the local memory that follows.
 *
 * @param type F16 or BF16
 * @param width columns of a tile: 64, 128 or 256
 * @param rows queries of a tile
 * @param keys keys of a tile
 * @param waves waves of a group
 */
record MobaCooperativeTiles(DataType type, int width, int rows, int keys, int waves) {
  private static final int WAVE = 32;
  private static final int PADDING_BYTES = 16;

  /** The tiles of a spec, where the device has these units and local memory for them. */
  static Optional<MobaCooperativeTiles> of(MobaAttentionSpec spec, ComputeDevice device) {
    int columns = Math.max(spec.headDim(), spec.valueDim());
    DataType type = spec.dataType();
    ComputeTraits traits = device.traits();
    if (traits.matrixUnits() != MatrixUnits.COOPERATIVE
        || !device.hasRowsInQuads()
        || type == DataType.F32
        || columns > MobaTiles.MOST_WIDTH) {
      return Optional.empty();
    }
    MobaCooperativeTiles tiles =
        columns <= 64
            ? new MobaCooperativeTiles(type, 64, 128, 64, 4)
            : columns <= 128
                ? new MobaCooperativeTiles(type, 128, 128, 64, 8)
                : new MobaCooperativeTiles(type, MobaTiles.MOST_WIDTH, 64, 16, 4);
    return tiles.localBytes() <= traits.localBytes() && tiles.groupSize() <= traits.mostGroupSize()
        ? Optional.of(tiles)
        : Optional.empty();
  }

  int groupSize() {
    return waves * WAVE;
  }

  /**
   * Whether rows are as wide as tiles and blocks whole numbers of tiles of keys: then aligned rows
   * have kernels of their own.
   */
  boolean areWhole(MobaAttentionSpec spec) {
    return spec.headDim() == width && spec.valueDim() == width && spec.blockSize() % keys == 0;
  }

  /** Names a kernel with these tiles. */
  KernelName kernel(String function, boolean paged) {
    return KernelName.of("moba/attend_units", function)
        .with("TYPE", TensorLayout.typeCode(type))
        .with("WIDTH", width)
        .with("ROWS", rows)
        .with("KEYS", keys)
        .with("WAVES", waves)
        .with("WAVE", WAVE)
        .with("MATRIX", MatrixUnits.COOPERATIVE.code())
        .with("PAGED", paged ? 1 : 0);
  }

  private long localBytes() {
    return Math.max(rows, 2 * keys) * (2L * width + PADDING_BYTES) + 24L * rows + 4L * keys + 64;
  }
}
