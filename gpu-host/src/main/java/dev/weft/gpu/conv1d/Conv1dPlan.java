package dev.weft.gpu.conv1d;

/**
 * How the work of a launch is cut: a pure function of sizes and of the device's multiprocessors
 * (compute units), so that results repeat bit for bit. A block is a work-group, a thread a
 * work-item.
 *
 * @param threads of a block
 * @param columns blocks side by side over the channels
 * @param tile tokens of a block, or sequences of a block in an update
 * @param tiles how many tiles
 */
public record Conv1dPlan(int threads, int columns, int tile, int tiles) {
  private static final int MOST_THREADS = 128;
  private static final int WARP = 32;

  /** Blocks for each multiprocessor that fill the device; it holds four, by their registers. */
  static final int WANTED_BLOCKS = 3;

  private static final int FORWARD_RESIDENT_BLOCKS = 4;
  private static final int MOST_FORWARD_TILE = 64;
  private static final int MOST_TILE_OF_ONE_WAVE = 128;

  /** Measured on an H200: a multiple of the three rows that its kernels take at once. */
  private static final int SHORT_TILE = 15;

  /** Of sequences that are not shorter: two rows cost their tile's start as much as four. */
  private static final int LEAST_LONG_TILE = 4;

  /** From so many waves on, how full the last one is does not matter. */
  private static final int MANY_WAVES = 8;

  private static final int LEAST_BACKWARD_TILE = 32;
  private static final int MOST_BACKWARD_TILES = 256;
  private static final int BACKWARD_RESIDENT_BLOCKS = 3;
  private static final int BACKWARD_BLOCK_CHANNELS = 512;
  static final int MOST_SEQUENCES_PER_BLOCK = 8;

  /** As kernels get it. */
  public Conv1dArguments.Cut cut() {
    return new Conv1dArguments.Cut(tile, tiles, columns);
  }

  /** Threads of a block: as many as leave the fewest idle in the last column. */
  private static int threads(int channels, int vector) {
    int needed = ceil(channels, vector);
    if (needed <= MOST_THREADS) {
      return ceil(needed, WARP) * WARP;
    }
    int best = MOST_THREADS;
    for (int threads = MOST_THREADS - WARP; threads >= MOST_THREADS / 2; threads -= WARP) {
      if (ceil(needed, threads) * threads < ceil(needed, best) * best) {
        best = threads;
      }
    }
    return best;
  }

  static int ceil(long a, long b) {
    return Math.toIntExact((a + b - 1) / b);
  }

  /** Cuts a forward pass: the longest tiles that still fill the device. */
  public static Conv1dPlan forward(
      int channels, int vector, int tokens, long sequences, int multiprocessors) {
    int threads = threads(channels, vector);
    int columns = ceil(channels, (long) threads * vector);
    int tile =
        forwardTile((long) FORWARD_RESIDENT_BLOCKS * multiprocessors / columns, tokens, sequences);
    return new Conv1dPlan(threads, columns, tile, ceil(tokens, tile));
  }

  /**
   * Tokens of a tile of a forward pass.
   *
   * @param wave tiles that run at once
   */
  static int forwardTile(long wave, int tokens, long sequences) {
    long atOnce = Math.max(1, wave);
    // Whole waves: tiles of about the same length begin and end together, and no last wave runs
    // alone.
    long waves =
        tokens <= atOnce * MOST_TILE_OF_ONE_WAVE ? 1 : ceil(tokens, atOnce * MOST_FORWARD_TILE);
    return forSequences(ceil(tokens, atOnce * waves), tokens, sequences);
  }

  /**
   * Cuts a forward pass for kernels that lose little at the start of a tile: short tiles, so that
   * what is read and written at a time lies close together, in waves that are nearly full.
   */
  public static Conv1dPlan forwardInShortTiles(
      int channels, int vector, int tokens, long sequences, int multiprocessors) {
    int threads = threads(channels, vector);
    int columns = ceil(channels, (long) threads * vector);
    long wave = Math.max(1, (long) FORWARD_RESIDENT_BLOCKS * multiprocessors / columns);
    long waves = Math.max(1, (tokens + wave * SHORT_TILE / 2) / (wave * SHORT_TILE));
    int wanted = waves < MANY_WAVES ? ceil(tokens, wave * waves) : SHORT_TILE;
    int least = tokens >= LEAST_LONG_TILE * sequences ? LEAST_LONG_TILE : 2;
    int tile = forSequences(Math.max(least, wanted), tokens, sequences);
    return new Conv1dPlan(threads, columns, tile, ceil(tokens, tile));
  }

  /** Sequences of a tile are walked one after another, each waiting for its state. */
  private static int forSequences(int wanted, int tokens, long sequences) {
    int tile = Math.max(2, wanted);
    while (tile > 2 && sequences > 0 && tile > 2 * (tokens / sequences + 1)) {
      tile /= 2;
    }
    return tile;
  }

  /** Cuts an update: several sequences for each block once there are enough to fill the device. */
  public static Conv1dPlan update(int channels, int vector, long sequences, int multiprocessors) {
    int threads = threads(channels, vector);
    int columns = ceil(channels, (long) threads * vector);
    long wanted = (long) WANTED_BLOCKS * multiprocessors;
    int tile = MOST_SEQUENCES_PER_BLOCK;
    while (tile > 1 && columns * ((sequences + tile - 1) / tile) < wanted) {
      tile /= 2;
    }
    return new Conv1dPlan(threads, columns, tile, ceil(sequences, tile));
  }

  /** Cuts a backward pass: as many tiles as run at once, since each leaves partial sums. */
  public static Conv1dPlan backward(
      int channels, int vector, int width, long tokens, long workspaceLimit, int multiprocessors) {
    int threads = threads(channels, vector);
    int columns = ceil(channels, (long) threads * vector);
    int most = backwardTiles(channels, width, tokens, workspaceLimit, multiprocessors);
    int tile = most == 0 ? 1 : ceil(tokens, most);
    return new Conv1dPlan(threads, columns, tile, ceil(tokens, tile));
  }

  /** The most tiles of a backward pass; grows with the tokens, whatever the variant. */
  public static int backwardTiles(
      int channels, int width, long tokens, long workspaceLimit, int multiprocessors) {
    long most =
        (long) BACKWARD_RESIDENT_BLOCKS * multiprocessors * BACKWARD_BLOCK_CHANNELS / channels;
    most = Math.min(most, MOST_BACKWARD_TILES);
    most = Math.min(most, workspaceLimit / partialBytes(channels, width));
    long needed = (tokens + LEAST_BACKWARD_TILE - 1) / LEAST_BACKWARD_TILE;
    return (int) Math.min(Math.max(most, 1), needed);
  }

  /** The partial sums of one tile. */
  public static long partialBytes(int channels, int width) {
    return (width + 1) * weightPitch(channels) * Float.BYTES;
  }

  /** Channels of a packed weight row: whole 16-byte words for every vector width. */
  public static long weightPitch(int channels) {
    return (channels + 7L) / 8 * 8;
  }
}
