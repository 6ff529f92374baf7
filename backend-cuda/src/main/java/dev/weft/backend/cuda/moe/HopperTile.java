package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import java.util.Locale;

/**
 * A compiled shape of sm_90a/expert_gemm.cuh, and which one a launch gets; what each is good for
 * was measured (docs/cuda.md).
 */
enum HopperTile {
  /** A token or two: twice the work items, so that all multiprocessors have one. */
  SPLIT16(1, 16, 4, 5, true, false, 0),
  /** Few rows: weights stream through a deep ring. */
  FEW32(1, 32, 2, 5, false, false, 0),
  /** The same where there are plenty of work items. */
  WIDE32(2, 32, 1, 6, false, false, 0),
  WIDE64(2, 64, 1, 5, false, false, 0),
  WIDE128(2, 128, 1, 4, false, false, 0),
  /** Long prompts: rows are sorted first, so that the copy engine brings them. */
  DENSE160(2, 160, 1, 3, false, true, 8);

  /** The experts' first tiles have to fit behind the largest ring. */
  static final int MOST_EXPERTS = 512;

  private static final int ROW_BYTES = 128;

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
   * The tile for a first projection. A pure function of sizes that the host knows.
   *
   * @param rows the most rows of all experts
   * @param experts how many
   * @param width I
   * @param multiprocessors of the device
   */
  static HopperTile ofProject(long rows, int experts, int width, int multiprocessors) {
    long touched = Math.min(rows, experts);
    long each = rows / touched;
    if (each <= 24) {
      return ofFew(each, touched, width, true, multiprocessors);
    }
    return ofMany(each, width);
  }

  /**
   * The tile for a second projection.
   *
   * @param rows the most rows of all experts
   * @param experts how many
   * @param hidden H
   * @param width I
   * @param multiprocessors of the device
   */
  static HopperTile ofDown(long rows, int experts, int hidden, int width, int multiprocessors) {
    long touched = Math.min(rows, experts);
    long each = rows / touched;
    if (each <= 8) {
      return ofFew(each, touched, hidden, false, multiprocessors);
    }
    return each <= 24 ? FEW32 : ofMany(each, width);
  }

  /** By how many work items there are for each multiprocessor: too few, some, or many. */
  private static HopperTile ofFew(
      long each, long touched, int columns, boolean gated, int multiprocessors) {
    if (each <= 8 && 10 * touched * FEW32.weightTiles(columns, gated) < 6L * multiprocessors) {
      return SPLIT16;
    }
    return touched * WIDE32.weightTiles(columns, gated) > 6L * multiprocessors ? WIDE32 : FEW32;
  }

  private static HopperTile ofMany(long each, int width) {
    if (each <= 48) {
      return width >= 2048 ? WIDE64 : FEW32;
    }
    // Sorting moves 4 H bytes a row, the products 6 H I operations: it pays where I is large.
    return each >= 100 && width >= 2048 ? DENSE160 : WIDE128;
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
    int mostStaging = tokens <= 32 ? 4096 : tokens <= 64 ? 8192 : 16_384;
    int staging = Math.min(mostStaging, tokens * blocks * (split ? 256 : 128));
    int barriers = 16 * stages;
    int sums = 48;
    return stages * stage + 2 * staging + barriers + sums + 4 * (experts + 1);
  }

  String project(DataType type) {
    return "moe_hopper_project_" + type.text() + "_" + text();
  }

  String down(DataType type) {
    return "moe_hopper_down_" + type.text() + "_" + text();
  }

  private String text() {
    return name().toLowerCase(Locale.ROOT);
  }
}
