package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.backend.cuda.driver.TensorMaps;
import java.util.Locale;

/**
 * A compiled shape of sm_90a/expert_gemm.cuh, and which one a launch gets; what each is good for
 * was measured (docs/cuda.md).
 */
enum HopperTile {
  /** Few rows, and work items of {@link #FEW32} would be so few that some end late. */
  SPLIT16(1, 16, 4, 5, true, false, 0),
  /** Few rows: weights stream through a deep ring. */
  FEW32(1, 32, 2, 5, false, false, 0),
  FEW48(1, 48, 2, 4, false, false, 0),
  WIDE64(2, 64, 1, 5, false, false, 0),
  WIDE128(2, 128, 1, 4, false, false, 0),
  /** Long prompts: more rows a tile, so that weights are read less often. */
  WIDE160(2, 160, 1, 4, false, false, 0),
  /** The same, and rows are sorted first, so that the copy engine brings them. */
  DENSE160(2, 160, 1, 4, false, true, 8);

  /** The experts' first tiles have to fit behind the largest ring. */
  static final int MOST_EXPERTS = 512;

  private static final int ROW_BYTES = 128;

  /** Rows of one product of a warpgroup. */
  private static final int SLAB_ROWS = 64;

  /** Items that a block's first thread has claimed: kClaims in expert_gemm.cuh. */
  private static final int CLAIMS = 8;

  private final int blocks;
  private final int tokens;
  private final int slabs;
  private final int stages;
  private final boolean split;
  private final boolean dense;
  private final int itemsOfBlock;

  HopperTile(
      int blocks,
      int tokens,
      int slabs,
      int stages,
      boolean split,
      boolean dense,
      int itemsOfBlock) {
    this.blocks = blocks;
    this.tokens = tokens;
    this.slabs = slabs;
    this.stages = stages;
    this.split = split;
    this.dense = dense;
    this.itemsOfBlock = itemsOfBlock;
  }

  /**
   * The tile for a launch. A pure function of sizes that the host knows.
   *
   * @param rows the most rows of all experts
   * @param experts how many
   * @param hidden H
   * @param width I
   * @param multiprocessors of the device
   */
  static HopperTile of(long rows, int experts, int hidden, int width, int multiprocessors) {
    long touched = Math.min(rows, experts);
    long each = rows / touched;
    if (each <= 4 && touched * FEW32.weightTiles(hidden, false) <= 2L * multiprocessors) {
      return SPLIT16;
    }
    // An expert with more rows than a tile has reads its weights again; few have so many more than
    // the average, if rows are drawn evenly.
    if (each <= 48) {
      return each <= 20 ? FEW32 : each <= 36 ? FEW48 : WIDE64;
    }
    // Sorting moves 4 H bytes a row, the products 6 H I operations: it pays where I is large.
    return each < 100 ? WIDE128 : width >= 2048 ? DENSE160 : WIDE160;
  }

  /** Weight rows of a work item. */
  int weightRows() {
    return 64 * blocks * (split ? 1 : 2);
  }

  /**
   * Work items for a tile of tokens.
   *
   * @param columns of the result
   * @param gated whether each needs two weight rows
   */
  int weightTiles(int columns, boolean gated) {
    int each = gated ? weightRows() / 2 : weightRows();
    return (columns + each - 1) / each;
  }

  /** The most token rows of a work item. */
  int tokens() {
    return tokens;
  }

  /** Rows of one copy of tokens. */
  int tokenBox() {
    return tokens <= 64 ? 8 : 32;
  }

  /** Whether gate and up are two products with a tensor map each; else their rows alternate. */
  boolean isPaired() {
    return blocks == 2;
  }

  /**
   * Whether reading weights is what its launches wait for: the L2 then brings no more than asked
   * for, the first weights are asked for ahead, and blocks take items as they become free.
   */
  boolean isStreaming() {
    return tokens <= 64;
  }

  /** What the L2 brings at once. */
  TensorMaps.Fetch fetch() {
    return isStreaming() ? TensorMaps.Fetch.BYTES_128 : TensorMaps.Fetch.BYTES_256;
  }

  /** Stages of its ring. */
  int stages() {
    return stages;
  }

  /** Whether the first projection takes rows in sorted order; else it gathers them. */
  boolean isDense() {
    return dense;
  }

  /** The most work items of a block; 0: all that fall to it. Few even out different speeds. */
  int itemsOfBlock() {
    return itemsOfBlock;
  }

  /** As Shape in expert_gemm.cuh counts them. */
  int sharedBytes(int experts) {
    int stage = slabs * (weightRows() + tokens) * ROW_BYTES;
    int mostStaging = tokens <= 32 ? 4096 : tokens <= 64 || tokens > 128 ? 8192 : 16_384;
    int staging = Math.min(mostStaging, tokens * blocks * (split ? 256 : 128));
    int barriers = 16 * (stages + CLAIMS);
    int sums = 48;
    return stages * stage + 2 * staging + barriers + sums + 4 * (experts + 1);
  }

  /** The same for both projections in one launch: ExpertStream has three tables of experts. */
  int sharedBytesOfBoth(int experts) {
    return sharedBytes(experts) + 4 * (2 * experts + 1);
  }

  /** Rows of a copy of the second projection's weights, in a launch of both. */
  int copiedDownRows() {
    return isPaired() ? SLAB_ROWS : weightRows();
  }

  /** The kernel of gated experts: of both projections where weights stream, else of the first. */
  String gated(DataType type) {
    return "moe_hopper_" + (isStreaming() ? "both_" : "project_") + type.text() + "_" + text();
  }

  String down(DataType type) {
    return "moe_hopper_down_" + type.text() + "_" + (this == DENSE160 ? WIDE160 : this).text();
  }

  private String text() {
    return name().toLowerCase(Locale.ROOT);
  }
}
