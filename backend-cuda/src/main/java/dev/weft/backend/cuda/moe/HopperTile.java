package dev.weft.backend.cuda.moe;

import dev.weft.DataType;

/**
 * A compiled shape of sm_90a/expert_gemm.cuh, and which one a launch gets; what each is good for
 * was measured (docs/cuda.md).
 */
enum HopperTile {
  /** Few rows: weights stream through a deep ring. */
  N32(1, 32, 2, 5, false, 1, 8),
  /** Prompts: rows are sorted first, so that the copy engine brings them. */
  N128(2, 128, 1, 4, true, 1, 1);

  /** The experts' first tiles have to fit behind the largest ring. */
  static final int MOST_EXPERTS = 512;

  private static final int ROW_BYTES = 128;

  private final int blocks;
  private final int tokens;
  private final int slabs;
  private final int stages;
  private final boolean dense;
  private final int resident;
  private final int waves;

  HopperTile(
      int blocks, int tokens, int slabs, int stages, boolean dense, int resident, int waves) {
    this.blocks = blocks;
    this.tokens = tokens;
    this.slabs = slabs;
    this.stages = stages;
    this.dense = dense;
    this.resident = resident;
    this.waves = waves;
  }

  /**
   * The tile for a launch.
   *
   * @param rows the most rows of all experts
   * @param experts how many
   */
  static HopperTile of(long rows, int experts) {
    return rows <= 24L * experts ? N32 : N128;
  }

  /** Weight rows of a work item. */
  int weightRows() {
    return 128 * blocks;
  }

  /** The most token rows of a work item. */
  int tokens() {
    return tokens;
  }

  /** Rows of one copy of tokens. */
  int tokenBox() {
    return tokens <= 64 ? 8 : 32;
  }

  /** Whether the first projection takes rows in sorted order; else it gathers them. */
  boolean isDense() {
    return dense;
  }

  /** Blocks for each multiprocessor: more than reside at once even out their different speeds. */
  int blocksPerMultiprocessor() {
    return resident * waves;
  }

  /** As Shape in expert_gemm.cuh counts them. */
  int sharedBytes(int experts) {
    int stage = slabs * (weightRows() + tokens) * ROW_BYTES;
    int mostStaging = tokens <= 32 ? 4096 : tokens <= 64 ? 8192 : 16_384;
    int staging = Math.min(mostStaging, tokens * blocks * 128);
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
    return "n" + tokens;
  }
}
