package dev.weft.gpu.moba;

import dev.weft.DataType;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Optional;

/**
 * The tiles of attention on NVIDIA's matrix units: the constants that moba/attend_mma.cl is
 * compiled with, and the local memory that follows.
 *
 * @param type F16 or BF16
 * @param width columns of a tile: 64, 128 or 256
 * @param rows queries of a tile
 * @param keys keys of a tile
 */
record MobaUnitTiles(DataType type, int width, int rows, int keys) {
  private static final int WAVES = 4;
  private static final int WAVE = 32;

  /** Tiles of keys that are in local memory, and of keys and values together. */
  private static final int KEY_TILES = 2;

  private static final int TILES = KEY_TILES + 1;
  private static final int PADDING_BYTES = 16;

  /** The tiles of a spec, where the device has these units and local memory for them. */
  static Optional<MobaUnitTiles> of(MobaAttentionSpec spec, ComputeTraits traits) {
    DataType type = spec.dataType();
    int width = width(spec);
    return usable(
        switch (width) {
          case 64 -> new MobaUnitTiles(type, width, 128, 32);
          case 128 -> new MobaUnitTiles(type, width, 128, 64);
          default -> new MobaUnitTiles(type, width, 64, 16);
        },
        spec,
        traits);
  }

  private static int width(MobaAttentionSpec spec) {
    int columns = Math.max(spec.headDim(), spec.valueDim());
    return columns <= 64 ? 64 : columns <= 128 ? 128 : MobaTiles.MOST_WIDTH;
  }

  private static Optional<MobaUnitTiles> usable(
      MobaUnitTiles tiles, MobaAttentionSpec spec, ComputeTraits traits) {
    boolean fits =
        traits.matrixUnits() == MatrixUnits.NVIDIA_MMA
            && spec.dataType() != DataType.F32
            && Math.max(spec.headDim(), spec.valueDim()) <= MobaTiles.MOST_WIDTH
            && tiles.localBytes() <= traits.localBytes()
            && groupSize() <= traits.mostGroupSize();
    return fits ? Optional.of(tiles) : Optional.empty();
  }

  static int groupSize() {
    return WAVES * WAVE;
  }

  /** Names a kernel with these tiles. */
  KernelName kernel(String function, boolean paged) {
    return KernelName.of("moba/attend_mma", function)
        .with("TYPE", TensorLayout.typeCode(type))
        .with("WIDTH", width)
        .with("ROWS", rows)
        .with("KEYS", keys)
        .with("WAVES", WAVES)
        .with("WAVE", WAVE)
        .with("MATRIX", 1)
        .with("PAGED", paged ? 1 : 0);
  }

  private long localBytes() {
    long row = 2L * width + PADDING_BYTES;
    return (rows + (long) TILES * keys) * row + 24L * rows + 4L * KEY_TILES * keys + 64;
  }
}
