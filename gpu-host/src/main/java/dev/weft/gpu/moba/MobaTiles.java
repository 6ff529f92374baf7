package dev.weft.gpu.moba;

import dev.weft.DataType;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import java.util.List;
import java.util.Optional;

/**
 * The tiles of a program that multiplies queries, keys and values: the constants that it is
 * compiled with, as moba/rows.clh and moba/attend.cl describe them, and the local memory that
 * follows.
 *
 * @param type the storage type
 * @param width columns of a tile: a multiple of 64
 * @param rows queries of a tile
 * @param keys keys of a tile
 * @param waves waves of a group
 * @param scoreRows rows of a wave's tile of scores
 * @param scoreKeys columns of a wave's tile of scores
 * @param outputRows rows of a wave's tile of output
 * @param outputColumns columns of a wave's tile of output
 */
record MobaTiles(
    DataType type,
    int width,
    int rows,
    int keys,
    int waves,
    int scoreRows,
    int scoreKeys,
    int outputRows,
    int outputColumns) {
  /** The widest rows that there are programs for. */
  static final int MOST_WIDTH = 256;

  /** Selected blocks that moba_select_few takes. */
  static final int FEW = 8;

  private static final int NARROW = 128;
  private static final int NARROWEST = 64;

  /** As matrix.clh has it: a chunk of padding for each row. */
  private static final int PADDING_BYTES = 16;

  /** The tiles of a spec on a device, or nothing where none fit its limits. */
  static Optional<MobaTiles> of(MobaAttentionSpec spec, ComputeTraits traits) {
    int columns = Math.max(spec.headDim(), spec.valueDim());
    if (columns > MOST_WIDTH) {
      return Optional.empty();
    }
    return candidates(spec.dataType(), held(spec.dataType(), traits), width(columns, traits))
        .stream()
        .filter(tiles -> tiles.localBytes(traits) <= traits.localBytes())
        .filter(tiles -> tiles.groupSize(traits) <= traits.mostGroupSize())
        .findFirst();
  }

  /** Columns of a program that holds so many; a CPU gets fewer programs to compile. */
  static int width(int columns, ComputeTraits traits) {
    return columns <= NARROWEST && !traits.isCpu()
        ? NARROWEST
        : columns <= NARROW ? NARROW : MOST_WIDTH;
  }

  /**
   * The type that elements in local memory are counted as. Plain arithmetic may hold floats of any;
   * cooperative matrices have kernels of their own, and these here beside them are plain.
   */
  static DataType held(DataType type, ComputeTraits traits) {
    return switch (traits.matrixUnits()) {
      case NONE, COOPERATIVE -> DataType.F32;
      default -> type;
    };
  }

  /** What there is for a type and width, the largest first. */
  private static List<MobaTiles> candidates(DataType type, DataType held, int width) {
    if (width == NARROWEST) {
      return held == DataType.F32
          ? List.of(
              new MobaTiles(type, width, 32, 32, 4, 16, 16, 16, 32),
              new MobaTiles(type, width, 16, 16, 4, 16, 16, 16, 16))
          : List.of(
              new MobaTiles(type, width, 64, 32, 4, 16, 32, 16, 64),
              new MobaTiles(type, width, 16, 16, 4, 16, 16, 16, 16));
    }
    if (held == DataType.F32) {
      return width == NARROW
          ? List.of(
              new MobaTiles(type, width, 32, 32, 4, 16, 16, 16, 64),
              new MobaTiles(type, width, 16, 16, 2, 16, 16, 16, 64))
          : List.of(
              new MobaTiles(type, width, 16, 16, 4, 16, 16, 16, 64),
              new MobaTiles(type, width, 16, 8, 4, 16, 8, 16, 64));
    }
    return width == NARROW
        ? List.of(
            new MobaTiles(type, width, 64, 32, 4, 16, 32, 32, 64),
            new MobaTiles(type, width, 32, 32, 4, 16, 16, 16, 64))
        : List.of(
            new MobaTiles(type, width, 32, 32, 4, 16, 16, 32, 64),
            new MobaTiles(type, width, 16, 16, 4, 16, 16, 16, 64));
  }

  int groupSize(ComputeTraits traits) {
    return waves * traits.waveSize();
  }

  /** Names a kernel of a source with these tiles. */
  KernelName kernel(String source, String function, ComputeTraits traits) {
    return KernelName.of(source, function)
        .with("TYPE", TensorLayout.typeCode(type))
        .with("WIDTH", width)
        .with("ROWS", rows)
        .with("KEYS", keys)
        .with("WAVES", waves)
        .with("ROLLED", traits.isCpu() ? 1 : 0)
        .with("WAVE", traits.waveSize())
        .with("MATRIX", matrixCode(type, traits.matrixUnits()))
        .with("SM", scoreRows)
        .with("SN", scoreKeys)
        .with("OM", outputRows)
        .with("ON", outputColumns);
  }

  /** F32 has one program for all devices: matrix units would round its inputs. */
  static int matrixCode(DataType type, MatrixUnits units) {
    return type == DataType.F32 ? 0 : units.code();
  }

  /** Of attention or selection, whichever needs more. */
  private long localBytes(ComputeTraits traits) {
    int waveSize = traits.waveSize();
    int elementBytes = held(type, traits).bytes();
    long row = (long) width * elementBytes + PADDING_BYTES;
    long weights = rows * ((long) keys * elementBytes + PADDING_BYTES);
    long scores = 4L * rows * (keys + 1);
    long small = 28L * rows + 4L * keys + 4L * waves * waveSize + 64;
    long places = 4L * rows * keys;
    long best = 8L * FEW * waves * waveSize - rows * row; // beyond the tile of queries
    return (rows + keys) * row
        + scores
        + Math.max(weights + small, Math.max(best, 0) + places + 8L * rows);
  }
}
