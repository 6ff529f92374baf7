package dev.weft.backend.cuda.moba;

import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;

/**
 * Builds, on the device, the tables of blocks and for each key-value head and block the list of
 * query rows that selected it. What they hold and in which order: src/main/cuda/moba/lists.cuh.
 */
final class MobaLists {
  static final String BLOCKS = "moba_blocks";
  static final String COUNT = "moba_list_count";
  static final String SCAN = "moba_list_scan";
  static final String SCATTER = "moba_list_scatter";

  /** As moba_lists.cu has them. */
  static final int TABLE_THREADS = 128;

  private static final int SCAN_COLUMNS = 32;
  private static final int SCAN_THREADS = 512;

  /** Counters beyond this go to global memory, which is slower. */
  private static final int SHARED_COUNTER_BYTES = 48 * 1024;

  private final KernelFunction blocks;
  private final KernelFunction count;
  private final KernelFunction scan;
  private final KernelFunction scatter;

  MobaLists(CudaDevice device) {
    blocks = device.kernel(BLOCKS);
    count = device.kernel(COUNT);
    scan = device.kernel(SCAN);
    scatter = device.kernel(SCATTER);
  }

  /**
   * Where tables and lists lie in scratch memory: a pure function of sizes. Larger sizes never need
   * less.
   *
   * @param tokens T
   * @param sequences B
   * @param group query heads of a key-value head
   * @param slots selected blocks of a query at most, its own not counted; may be 0
   * @param blockSize tokens per block
   * @param heads key-value heads whose lists exist at once
   * @param blocks numbers of blocks, the empty ones included
   */
  record Layout(
      int tokens, int sequences, int group, int slots, int blockSize, int heads, int blocks) {
    private static final int ALIGNMENT = 256;
    private static final int LEAST_TILE_ROWS = 64;

    /** Tiles of all heads that fill a device, and the bounds of one head's. */
    private static final int WANTED_TILES = 1024;

    private static final int LEAST_TILES_OF_HEAD = 128;
    private static final int MOST_TILES_OF_HEAD = 512;

    Layout {
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
    Layout(int tokens, int sequences, int group, int slots, int blockSize, int heads) {
      this(
          tokens,
          sequences,
          group,
          slots,
          blockSize,
          heads,
          Math.toIntExact((long) tokens / blockSize + sequences + 1));
    }

    /** How many slots of a selection can hold a block at all. */
    static int slots(long tokens, int blockSize, int topK) {
      return (int) Math.min(topK - 1L, Math.max(0, (tokens + blockSize - 1) / blockSize - 1));
    }

    long rows() {
      return (long) tokens * group;
    }

    long entriesPerHead() {
      return rows() * slots;
    }

    /**
     * Rows of a warp's tile: few tiles where there are many rows, since the matrix has a row for
     * each.
     */
    int tileOfRows() {
      long rows = LEAST_TILE_ROWS;
      while (rows * mostTiles() < rows()) {
        rows *= 2;
      }
      return Math.toIntExact(rows);
    }

    private int mostTiles() {
      return Math.clamp(WANTED_TILES / heads, LEAST_TILES_OF_HEAD, MOST_TILES_OF_HEAD);
    }

    int tiles() {
      return Math.toIntExact((rows() + tileOfRows() - 1) / tileOfRows());
    }

    private long matrixBytes() {
      long most = Math.min(mostTiles(), (rows() + LEAST_TILE_ROWS - 1) / LEAST_TILE_ROWS);
      return slots == 0 ? 0 : most * heads * blocks() * 4;
    }

    /** The same sizes with lists of so many key-value heads at once. */
    Layout ofHeads(int count) {
      return new Layout(tokens, sequences, group, slots, blockSize, count);
    }

    static long aligned(long bytes) {
      return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    private long homesAt() {
      return ALIGNMENT; // the ticket lies before
    }

    /** The address of the table of tokens. */
    long homes(long scratch) {
      return scratch + homesAt();
    }

    private long blocksAt() {
      return homesAt() + aligned(8L * tokens);
    }

    private long offsetsAt() {
      return blocksAt() + aligned(16L * blocks());
    }

    private long tilesAt() {
      return offsetsAt() + aligned(4 * ((long) heads * blocks() + 1));
    }

    private long countsAt() {
      return tilesAt() + aligned(4 * ((long) heads * blocks() + 1));
    }

    private long matrixAt() {
      return countsAt() + aligned(4L * heads * blocks());
    }

    private long entriesAt() {
      return matrixAt() + aligned(matrixBytes());
    }

    /** The scratch memory's size, a multiple of 256. */
    long bytes() {
      return entriesAt() + aligned(4L * heads * entriesPerHead());
    }
  }

  /**
   * Where a selection lies: strides are elements; the last dimension's is 1.
   *
   * @param address of [T, H, slots or more] I32; 0 if every past block is selected, block i in slot
   *     i
   */
  record Selection(long address, long tokenStride, long headStride) {
    /** Every past block is selected. */
    static final Selection ALL = new Selection(0, 0, 0);

    /** The Selection structure of lists.cuh. */
    ParameterBlock putInto(ParameterBlock block) {
      return block.put(address).put(tokenStride).put(headStride);
    }
  }

  /** Where the kernels that fill the tables write: homes, blocks, the ticket. */
  static ParameterBlock putTables(ParameterBlock block, Layout layout, long scratch) {
    return block
        .put(scratch + layout.homesAt())
        .put(scratch + layout.blocksAt())
        .put(scratch)
        .put(layout.blocks());
  }

  /** The address of the table of blocks. */
  static long blocksAddress(Layout layout, long scratch) {
    return scratch + layout.blocksAt();
  }

  /** Threads that fill the tables, one for each token and block number. */
  static long tableBlocks(Layout layout) {
    long items = Math.max(layout.tokens(), layout.blocks());
    return (items + TABLE_THREADS - 1) / TABLE_THREADS;
  }

  /** Fills the tables of tokens and blocks; once for a launch, before {@link #build}. */
  void tables(CudaStream stream, Layout layout, long scratch, long cuSeqlens) {
    stream
        .parameters()
        .put(cuSeqlens)
        .put(scratch + layout.homesAt())
        .put(scratch + layout.blocksAt())
        .put(scratch)
        .put(layout.tokens())
        .put(layout.sequences())
        .put(layout.blockSize())
        .put(layout.blocks());
    stream.launch(blocks, tableBlocks(layout), 1, TABLE_THREADS);
  }

  /**
   * Builds the lists of some key-value heads, with tiles of so many entries. Nothing to do without
   * slots or rows: then no kernel may look at lists either.
   *
   * @param heads how many, at most the layout's
   */
  void build(
      CudaStream stream,
      Layout layout,
      long scratch,
      Selection selection,
      int firstHead,
      int heads,
      int tileRows) {
    if (layout.entriesPerHead() == 0) {
      return;
    }
    long counterBytes = 4L * layout.blocks();
    boolean shared = counterBytes <= SHARED_COUNTER_BYTES;
    LaunchShape warps =
        LaunchShape.of((long) heads * layout.tiles(), 1, 32)
            .withShared(shared ? (int) counterBytes : 0);
    arguments(stream, layout, scratch, selection, firstHead, heads, tileRows, shared);
    stream.launch(count, warps);
    arguments(stream, layout, scratch, selection, firstHead, heads, tileRows, shared);
    long columns = (layout.blocks() + SCAN_COLUMNS - 1L) / SCAN_COLUMNS;
    stream.launch(scan, heads * columns, 1, SCAN_THREADS);
    arguments(stream, layout, scratch, selection, firstHead, heads, tileRows, shared);
    stream.launch(scatter, warps);
  }

  private static void arguments(
      CudaStream stream,
      Layout layout,
      long scratch,
      Selection selection,
      int firstHead,
      int heads,
      int tileRows,
      boolean shared) {
    selection
        .putInto(stream.parameters())
        .put(scratch + layout.homesAt())
        .put(scratch + layout.matrixAt())
        .put(scratch + layout.countsAt())
        .put(scratch + layout.offsetsAt())
        .put(scratch + layout.tilesAt())
        .put(scratch + layout.entriesAt())
        .put(scratch)
        .put(layout.entriesPerHead())
        .put(layout.blocks())
        .put(firstHead)
        .put(heads)
        .put(layout.group())
        .put(layout.slots())
        .put(layout.tileOfRows())
        .put(layout.tiles())
        .put(shared ? 1 : 0)
        .put(tileRows)
        .put(layout.tokens());
  }

  /** The Lists structure of lists.cuh, with the heads and tiles of the last {@link #build}. */
  static ParameterBlock putInto(
      ParameterBlock block, Layout layout, long scratch, int heads, int tileRows) {
    return block
        .put(scratch + layout.homesAt())
        .put(scratch + layout.blocksAt())
        .put(scratch + layout.offsetsAt())
        .put(scratch + layout.tilesAt())
        .put(scratch + layout.entriesAt())
        .put(layout.entriesPerHead())
        .put(layout.blocks())
        .put(heads)
        .put(layout.slots())
        .put(layout.group())
        .put(tileRows)
        .put(0);
  }
}
