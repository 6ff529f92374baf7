package dev.weft.backend.cuda.moba;

import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.moba.MobaListLayout;

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
  static ParameterBlock putTables(ParameterBlock block, MobaListLayout layout, long scratch) {
    return block
        .put(scratch + layout.homesAt())
        .put(scratch + layout.blocksAt())
        .put(scratch)
        .put(layout.blocks());
  }

  /** The address of the table of blocks. */
  static long blocksAddress(MobaListLayout layout, long scratch) {
    return scratch + layout.blocksAt();
  }

  /** Threads that fill the tables, one for each token and block number. */
  static long tableBlocks(MobaListLayout layout) {
    long items = Math.max(layout.tokens(), layout.blocks());
    return (items + TABLE_THREADS - 1) / TABLE_THREADS;
  }

  /** Fills the tables of tokens and blocks; once for a launch, before {@link #build}. */
  void tables(CudaStream stream, MobaListLayout layout, long scratch, long cuSeqlens) {
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
      MobaListLayout layout,
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
      MobaListLayout layout,
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
      ParameterBlock block, MobaListLayout layout, long scratch, int heads, int tileRows) {
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
