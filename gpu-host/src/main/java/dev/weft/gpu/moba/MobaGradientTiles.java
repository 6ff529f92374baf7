package dev.weft.gpu.moba;

import dev.weft.DataType;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import java.util.List;
import java.util.Optional;

/**
 * The tiles of backward's programs: the constants that moba/backward.cl is compiled with, and the
 * local memory that follows.
 *
 * @param type the storage type
 * @param width columns of queries, keys and values: a multiple of the chunk
 * @param chunk columns in local memory at once
 * @param side rows of queries, and keys, of a tile
 * @param waves waves of a group
 * @param gradientRows rows of a wave's tile of a gradient
 * @param gradientColumns columns of a wave's tile of a gradient
 */
record MobaGradientTiles(
    DataType type,
    int width,
    int chunk,
    int side,
    int waves,
    int gradientRows,
    int gradientColumns) {
  private static final int NARROW = 128;

  /** As matrix.clh has it: 16 bytes of padding for each row. */
  private static final int PADDING_BYTES = 16;

  /** Rows and columns of a wave's tile of scores. */
  private static final int SCORES = 16;

  /** The tiles of a spec on a device, or nothing where none fit its limits. */
  static Optional<MobaGradientTiles> of(MobaAttentionSpec spec, ComputeTraits traits) {
    int columns = Math.max(spec.headDim(), spec.valueDim());
    if (columns > MobaTiles.MOST_WIDTH) {
      return Optional.empty();
    }
    DataType held = MobaTiles.held(spec.dataType(), traits);
    return candidates(spec.dataType(), held, MobaTiles.width(columns, traits)).stream()
        .filter(tiles -> tiles.localBytes(held.bytes()) <= traits.localBytes())
        .filter(tiles -> tiles.groupSize(traits) <= traits.mostGroupSize())
        .findFirst();
  }

  /** What there is for a type and width, the largest first. */
  private static List<MobaGradientTiles> candidates(DataType type, DataType held, int width) {
    MobaGradientTiles least = new MobaGradientTiles(type, width, 64, 16, 4, 16, 16);
    return held == DataType.F32
        ? List.of(new MobaGradientTiles(type, width, 64, 32, 4, 16, 32), least)
        : List.of(
            width < NARROW
                ? new MobaGradientTiles(type, width, width, 32, 4, 32, 16)
                : new MobaGradientTiles(type, width, NARROW, 32, 4, 32, 32),
            least);
  }

  int groupSize(ComputeTraits traits) {
    return waves * traits.waveSize();
  }

  /** Names a kernel with these tiles. */
  KernelName kernel(String function, ComputeTraits traits) {
    return KernelName.of("moba/backward", function)
        .with("TYPE", TensorLayout.typeCode(type))
        .with("WIDTH", width)
        .with("CW", chunk)
        .with("SIDE", side)
        .with("WAVES", waves)
        .with("ROLLED", traits.isCpu() ? 1 : 0)
        .with("WAVE", traits.waveSize())
        .with("MATRIX", MobaTiles.matrixCode(type, traits.matrixUnits()))
        .with("SM", SCORES)
        .with("SN", SCORES)
        .with("GM", gradientRows)
        .with("GN", gradientColumns);
  }

  private long localBytes(int elementBytes) {
    long inputs = 4L * side * ((long) chunk * elementBytes + PADDING_BYTES);
    long scores = 2L * side * ((long) side * elementBytes + PADDING_BYTES);
    return inputs + scores + 28L * side + 64;
  }
}
