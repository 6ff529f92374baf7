package dev.weft.gpu.conv1d;

/**
 * How portable kernels cut the work of a launch: {@link Conv1dPlan}, less the columns. Work-items
 * are numbered tile by tile and within a tile channel by channel, so that none idles.
 *
 * @param items work-items of a tile, which own all channels together
 * @param tile tokens of a tile, or sequences in an update
 * @param tiles how many tiles
 */
record Conv1dTiles(int items, int tile, int tiles) {
  /** Work-items of a group, as the kernels say. */
  static final int GROUP_SIZE = 128;

  /** Measured on an H200: longer ones than CUDA's, as the start of one takes longer. */
  private static final int MOST_FORWARD_TILE = 168;

  /** As kernels get it. */
  Conv1dArguments.Cut cut() {
    return new Conv1dArguments.Cut(tile, tiles, items);
  }

  /** Groups for some tiles and for what comes after them. */
  long groups(int more) {
    return (((long) tiles + more) * items + GROUP_SIZE - 1) / GROUP_SIZE;
  }

  /**
   * A forward pass.
   *
   * @param resident groups that a compute unit holds at once
   */
  static Conv1dTiles forward(
      int items, int tokens, long sequences, int computeUnits, int resident) {
    long wave = Math.max(1, (long) resident * computeUnits * GROUP_SIZE / items);
    // Whole waves: tiles of about the same length begin and end together.
    long waves = Math.max(1, Conv1dPlan.ceil(tokens, wave * MOST_FORWARD_TILE));
    int tile = Math.max(2, Conv1dPlan.ceil(tokens, wave * waves));
    while (tile > 2 && sequences > 0 && tile > 3 * (tokens / sequences + 1)) {
      tile /= 2; // the sequences of a tile are walked one after another
    }
    return new Conv1dTiles(items, tile, Conv1dPlan.ceil(tokens, tile));
  }

  static Conv1dTiles update(int items, int sequences, int computeUnits) {
    long wanted = (long) Conv1dPlan.WANTED_BLOCKS * computeUnits * GROUP_SIZE;
    int tile = Conv1dPlan.MOST_SEQUENCES_PER_BLOCK;
    while (tile > 1 && (long) items * Conv1dPlan.ceil(sequences, tile) < wanted) {
      tile /= 2;
    }
    return new Conv1dTiles(items, tile, Conv1dPlan.ceil(sequences, tile));
  }

  /**
   * A backward pass.
   *
   * @param most the most tiles, as {@link Conv1dPlan#backwardTiles} has it
   */
  static Conv1dTiles backward(int items, int tokens, int most) {
    int tile = most == 0 ? 1 : Math.max(1, Conv1dPlan.ceil(tokens, most));
    return new Conv1dTiles(items, tile, Conv1dPlan.ceil(tokens, tile));
  }
}
