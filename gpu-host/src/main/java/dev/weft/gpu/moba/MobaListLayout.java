package dev.weft.gpu.moba;

import dev.weft.Limits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;

/**
 * Where the tables of blocks, and for each key-value head and block the list of query rows that
 * selected it, lie in scratch memory: a pure function of sizes. Larger sizes never need less.
 *
 * <p>Lists are made by counting: a tile of rows has a row of counters, one for each block, in a
 * matrix. All places are bytes from the scratch memory's start.
 *
 * @param tokens T
 * @param sequences B
 * @param group query heads of a key-value head
 * @param slots selected blocks of a query at most, its own not counted; may be 0
 * @param blockSize tokens per block
 * @param heads key-value heads whose lists exist at once
 * @param blocks numbers of blocks, the empty ones included
 */
public record MobaListLayout(
    int tokens, int sequences, int group, int slots, int blockSize, int heads, int blocks) {
  private static final int ALIGNMENT = 256;
  private static final int LEAST_TILE_ROWS = 64;

  /** Tiles of all heads that fill a device, and the bounds of one head's. */
  private static final int WANTED_TILES = 1024;

  private static final int LEAST_TILES_OF_HEAD = 128;
  private static final int MOST_TILES_OF_HEAD = 512;

  /** Refuses what the 32 bits of an entry cannot number. */
  public MobaListLayout {
    if (Math.multiplyExact((long) tokens * group, Math.max(slots, 1)) >= 1L << 32) {
      throw new IllegalArgumentException(
          "moba.attention: expected fewer than 2^32 selected blocks for one key-value head, but "
              + tokens
              + " tokens, "
              + group
              + " query heads and "
              + slots
              + " blocks may select more");
    }
  }

  /** Numbers of blocks as packed sequences have them. */
  public MobaListLayout(int tokens, int sequences, int group, int slots, int blockSize, int heads) {
    this(
        tokens,
        sequences,
        group,
        slots,
        blockSize,
        heads,
        Math.toIntExact((long) tokens / blockSize + sequences + 1));
  }

  /** The layout of a forward or paged launch of a spec, with lists of so many heads at once. */
  public static MobaListLayout of(MobaAttentionSpec spec, Mode mode, Limits limits, int heads) {
    int tokens = TensorLayout.tokens(limits.tokens());
    int sequences = TensorLayout.tokens(limits.sequences());
    int group = spec.heads() / spec.kvHeads();
    if (mode != Mode.PAGED) {
      int slots = slots(tokens, spec.blockSize(), spec.topK());
      return new MobaListLayout(tokens, sequences, group, slots, spec.blockSize(), heads);
    }
    long perSequence = blocksPerSequence(spec, limits.pagesPerSequence());
    int slots = (int) Math.min(spec.topK() - 1L, Math.max(0, perSequence - 1));
    int blocks = Math.toIntExact(sequences * perSequence);
    return new MobaListLayout(tokens, sequences, group, slots, spec.blockSize(), heads, blocks);
  }

  /** Blocks of the longest sequence that a page table has columns for. */
  static int blocksPerSequence(MobaAttentionSpec spec, long pages) {
    long positions = Math.min(pages * spec.pageSize(), Integer.MAX_VALUE);
    return (int) ((positions + spec.blockSize() - 1) / spec.blockSize());
  }

  /** How many slots of a selection can hold a block at all. */
  public static int slots(long tokens, int blockSize, int topK) {
    return (int) Math.min(topK - 1L, Math.max(0, (tokens + blockSize - 1) / blockSize - 1));
  }

  /** Query rows of a key-value head. */
  public long rows() {
    return (long) tokens * group;
  }

  /** Selected blocks of a key-value head's rows at most. */
  public long entriesPerHead() {
    return rows() * slots;
  }

  /** Rows of a tile: few tiles where there are many rows, since the matrix has a row for each. */
  public int tileOfRows() {
    long rows = LEAST_TILE_ROWS;
    while (rows * mostTiles() < rows()) {
      rows *= 2;
    }
    return Math.toIntExact(rows);
  }

  private int mostTiles() {
    return Math.clamp(WANTED_TILES / heads, LEAST_TILES_OF_HEAD, MOST_TILES_OF_HEAD);
  }

  /** Tiles of rows of a key-value head. */
  public int tiles() {
    return Math.toIntExact((rows() + tileOfRows() - 1) / tileOfRows());
  }

  private long matrixBytes() {
    long most = Math.min(mostTiles(), (rows() + LEAST_TILE_ROWS - 1) / LEAST_TILE_ROWS);
    return slots == 0 ? 0 : most * heads * blocks() * 4;
  }

  /** The same sizes with lists of so many key-value heads at once. */
  public MobaListLayout ofHeads(int count) {
    return new MobaListLayout(tokens, sequences, group, slots, blockSize, count);
  }

  /** Rounds up to the alignment of all places. */
  public static long aligned(long bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  /** The table of tokens. Before it is room for a counter. */
  public long homesAt() {
    return ALIGNMENT;
  }

  /** The table of blocks. */
  public long blocksAt() {
    return homesAt() + aligned(8L * tokens);
  }

  /** Where each list starts, and the end of the last. */
  public long offsetsAt() {
    return blocksAt() + aligned(16L * blocks());
  }

  /** Tiles of entries before each list, and of all. */
  public long tilesAt() {
    return offsetsAt() + aligned(4 * ((long) heads * blocks() + 1));
  }

  /** Entries of each list. */
  public long countsAt() {
    return tilesAt() + aligned(4 * ((long) heads * blocks() + 1));
  }

  /** Counts of each tile of rows and block. */
  public long matrixAt() {
    return countsAt() + aligned(4L * heads * blocks());
  }

  /** The lists. */
  public long entriesAt() {
    return matrixAt() + aligned(matrixBytes());
  }

  /** The scratch memory's size, a multiple of 256. */
  public long bytes() {
    return entriesAt() + aligned(4L * heads * entriesPerHead());
  }
}
