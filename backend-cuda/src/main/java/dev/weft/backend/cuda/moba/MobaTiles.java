package dev.weft.backend.cuda.moba;

import dev.weft.DataType;
import dev.weft.moba.MobaAttentionSpec;
import java.util.ArrayList;
import java.util.List;

/**
 * The shapes of tiles that forward's kernels have, and the shared memory that follows from them:
 * the same tables as attend_entries.cuh and select_entries.cuh.
 *
 * @param type the storage type
 * @param width columns of a row of queries, keys or values, rounded up to 64, 128 or 256
 */
record MobaTiles(DataType type, int width) {
  static final int THREADS = 128;
  static final int MOST_WIDTH = 256;
  static final int SELECT_ROWS = 64;

  private static final List<DataType> TYPES = List.of(DataType.BF16, DataType.F16, DataType.F32);
  private static final int[] WIDTHS = {64, 128, MOST_WIDTH};

  /** Most selected blocks that a kernel keeps in registers; beyond them there is {@link #ANY}. */
  private static final int[] SELECTIONS = {8, 32};

  /** As many selected blocks as there are. */
  static final int ANY = 0;

  /** The tiles of a spec's attention, whose queries and values share a width. */
  static MobaTiles attention(MobaAttentionSpec spec) {
    return of(spec.dataType(), Math.max(spec.headDim(), spec.valueDim()));
  }

  /** The tiles of a spec's selection. */
  static MobaTiles selection(MobaAttentionSpec spec) {
    return of(spec.dataType(), spec.headDim());
  }

  private static MobaTiles of(DataType type, int columns) {
    for (int width : WIDTHS) {
      if (columns <= width) {
        return new MobaTiles(type, width);
      }
    }
    throw new IllegalArgumentException("rows of " + columns + " columns");
  }

  /** The most selected blocks of the kernel that serves so many. */
  static int selectionKernel(int slots) {
    for (int most : SELECTIONS) {
      if (slots <= most) {
        return most;
      }
    }
    return ANY;
  }

  String listed() {
    return "moba_listed_" + type.text() + "_d" + width;
  }

  String own() {
    return "moba_own_" + type.text() + "_d" + width;
  }

  String direct() {
    return "moba_direct_" + type.text() + "_d" + width;
  }

  String directMerge() {
    return "moba_direct_merge_" + type.text();
  }

  String select(int most) {
    return "moba_select_" + type.text() + "_d" + width + "_k" + (most == ANY ? "any" : most);
  }

  /** All kernels of these tables. */
  static List<String> kernels() {
    List<String> names = new ArrayList<>();
    for (DataType type : TYPES) {
      names.add(new MobaTiles(type, MOST_WIDTH).directMerge());
      for (int width : WIDTHS) {
        MobaTiles tiles = new MobaTiles(type, width);
        names.add(tiles.listed());
        names.add(tiles.own());
        names.add(tiles.direct());
        names.add(tiles.select(ANY));
        for (int most : SELECTIONS) {
          names.add(tiles.select(most));
        }
      }
    }
    return names;
  }

  private boolean isHalf() {
    return type != DataType.F32;
  }

  /** Rows of queries of a thread block of attention. */
  int rows() {
    return isHalf() && width <= 128 ? 128 : 64;
  }

  private int listedKeys() {
    return isHalf() ? (width <= 128 ? 64 : 32) : 2048 / width;
  }

  private int ownKeys() {
    return isHalf() && width == 128 ? 32 : listedKeys();
  }

  private int means() {
    return isHalf() ? (width <= 128 ? 64 : 32) : 2048 / width;
  }

  private int rowBytes() {
    return isHalf() ? width * 2 : width * 4 + 16;
  }

  int listedSharedBytes() {
    return attentionBytes(listedKeys());
  }

  int ownSharedBytes() {
    return attentionBytes(ownKeys());
  }

  private int attentionBytes(int keys) {
    int tiles = (rows() + 4 * keys) * rowBytes();
    int sums = rows() * (width * 4 + 16);
    return Math.max(tiles, sums) + rows() * 12 + 2 * keys;
  }

  int selectSharedBytes(int most) {
    if (most == SELECTIONS[0]) {
      int batch = 2 * Math.min(4, means() / 8);
      int queues = 2 * Math.max(8, 2 * batch) * THREADS * 8;
      int queries = isHalf() ? 0 : SELECT_ROWS; // those of 16 bits lie in registers
      return (queries + 2 * means()) * rowBytes() + queues + 2 * means();
    }
    int batch = Math.min(8, means() / 2);
    int queues = most == ANY ? 0 : 2 * batch * THREADS * 8;
    return (SELECT_ROWS + 2 * means()) * rowBytes()
        + queues
        + SELECT_ROWS * (means() + 1) * 4
        + 2 * means();
  }
}
