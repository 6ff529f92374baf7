package dev.weft.backend.cuda.moba;

import dev.weft.DataType;
import dev.weft.moba.MobaAttentionSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * The shapes of the Hopper kernels of the forward pass, and the shared memory that follows from
 * them: the same as past_blocks.cuh, own_block.cuh and their entry points.
 *
 * @param type the storage type
 * @param columns of a row of queries, keys and values alike
 */
record MobaHopperTiles(DataType type, int columns) {
  /** What a thread block may have on Hopper. */
  static final int MOST_SHARED_BYTES = 227 * 1024;

  /** Keys of a tile, of past blocks. */
  static final int PAST_KEYS = 128;

  /** Rows of a tile, and its keys, of the own block. */
  static final int OWN_ROWS = 64;

  static final int OWN_THREADS = 128;

  private static final List<DataType> TYPES = List.of(DataType.BF16, DataType.F16);
  private static final int[] COLUMNS = {64, 128};
  private static final int PAST_GROUPS = 2;
  private static final int WARPGROUP = 128;

  /** Successive tiles of a thread block, where a block of keys stays in shared memory. */
  private static final int RESIDENT_RUN = 8;

  static Optional<MobaHopperTiles> of(MobaAttentionSpec spec) {
    // With a scale below zero the largest score is not the largest exponent; 0 times a masked key's
    // minus infinity is
    // NaN.
    if (spec.headDim() != spec.valueDim()
        || spec.blockSize() % PAST_KEYS != 0
        || !(spec.scale() > 0)) {
      return Optional.empty();
    }
    return all().stream()
        .filter(t -> t.type == spec.dataType() && t.columns == spec.headDim())
        .findFirst();
  }

  static List<MobaHopperTiles> all() {
    List<MobaHopperTiles> all = new ArrayList<>();
    for (DataType type : TYPES) {
      for (int columns : COLUMNS) {
        all.add(new MobaHopperTiles(type, columns));
      }
    }
    return all;
  }

  String past() {
    return "moba_past_blocks_" + type.text() + "_d" + columns;
  }

  String own() {
    return "moba_own_block_" + type.text() + "_d" + columns;
  }

  /** Rows of a tile of a list. */
  int pastRows() {
    return 64 * PAST_GROUPS;
  }

  int pastThreads() {
    return WARPGROUP * (PAST_GROUPS + 1);
  }

  /** Tiles of keys of a block. */
  int keyTiles(MobaAttentionSpec spec) {
    return spec.blockSize() / PAST_KEYS;
  }

  int run(MobaAttentionSpec spec) {
    return keyTiles(spec) == 1 ? RESIDENT_RUN : 1;
  }

  private int slots() {
    return columns == 128 ? 2 : 3;
  }

  private int stages() {
    return columns == 128 ? 2 : 3;
  }

  int pastSharedBytes() {
    int operands = (slots() * pastRows() + 2 * stages() * PAST_KEYS) * columns * 2;
    int results = pastRows() * columns * 2;
    int descriptions = 2 * slots() * (pastRows() * 4 + 32);
    int barriers = (2 * slots() + 4 * stages()) * 8;
    return operands + results + descriptions + barriers;
  }

  /** Grows with the slots of a row. */
  int ownSharedBytes(int slots) {
    int operands = 3 * OWN_ROWS * columns * 2;
    int results = OWN_ROWS * (columns * 4 + 32);
    long bytes = Math.max(operands, results) + OWN_ROWS * 8L + 3 * 8 + OWN_ROWS * 4L * slots;
    return (int) Math.min(bytes, Integer.MAX_VALUE);
  }
}
