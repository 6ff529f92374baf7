package dev.weft.gpu.moba;

import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Region;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Builds tables and lists on the device: moba/lists.cl. */
final class MobaListBuilder {
  private static final int TABLE_GROUP = 128;
  private static final int LIST_GROUP = 64;
  private static final int SCAN_GROUP = 256;

  private final ComputeKernel blocks;
  private final ComputeKernel count;
  private final ComputeKernel columns;
  private final ComputeKernel offsets;
  private final ComputeKernel scatter;
  private final ComputeKernel tiles;

  MobaListBuilder(ComputeDevice device) {
    KernelName source = KernelName.of("moba/lists", "moba_blocks");
    List<ComputeKernel> kernels =
        device.kernels(
            List.of(
                source,
                source.function("moba_list_count"),
                source.function("moba_list_columns"),
                source.function("moba_list_offsets"),
                source.function("moba_list_scatter"),
                source.function("moba_list_tiles")));
    blocks = kernels.get(0);
    count = kernels.get(1);
    columns = kernels.get(2);
    offsets = kernels.get(3);
    scatter = kernels.get(4);
    tiles = kernels.get(5);
  }

  static long groups(long items, int each) {
    return (items + each - 1) / each;
  }

  /**
   * Where a selection lies; pitches are elements.
   *
   * @param place of [T, H, slots or more] I32; null if every past block is selected, block i in
   *     slot i
   */
  record Selection(@Nullable Region place, long tokenPitch, long headPitch) {
    static final Selection ALL = new Selection(null, 0, 0);

    Arguments putInto(Arguments to) {
      return to.region(place).value(tokenPitch).value(headPitch);
    }
  }

  /** What puts the BATCH_PARAMETERS of batch.clh. */
  interface Batch {
    void putInto(Arguments to);
  }

  /** Fills the tables of tokens and blocks; once for a launch, before {@link #build}. */
  void tables(ComputeStream stream, MobaListLayout layout, Region scratch, Batch batch) {
    Arguments to = stream.arguments();
    batch.putInto(to);
    to.region(scratch.plus(layout.homesAt()))
        .region(scratch.plus(layout.blocksAt()))
        .value(layout.blocks());
    long items = Math.max(layout.tokens(), layout.blocks());
    stream.dispatch(blocks, groups(items, TABLE_GROUP), 1, 1, TABLE_GROUP);
  }

  /**
   * Builds the lists of some key-value heads. Nothing to do without slots or rows: then no kernel
   * may look at lists either.
   *
   * @param heads how many, at most the layout's
   * @param tileRows entries of a tile
   * @param listOfTile room for the list of each of {@code mostTiles} tiles
   */
  void build(
      ComputeStream stream,
      MobaListLayout layout,
      Region scratch,
      Selection selection,
      int firstHead,
      int heads,
      int tileRows,
      Region listOfTile,
      long mostTiles) {
    if (layout.entriesPerHead() == 0) {
      return;
    }
    long lists = (long) heads * layout.blocks();
    long groups = (long) heads * layout.tiles();
    arguments(stream, layout, scratch, selection, firstHead);
    stream.dispatch(count, groups, 1, 1, LIST_GROUP);

    stream
        .arguments()
        .region(scratch.plus(layout.matrixAt()))
        .region(scratch.plus(layout.countsAt()))
        .value(heads)
        .value(layout.blocks())
        .value(layout.tiles());
    stream.dispatch(columns, groups(lists, LIST_GROUP), 1, 1, LIST_GROUP);

    stream
        .arguments()
        .region(scratch.plus(layout.countsAt()))
        .region(scratch.plus(layout.offsetsAt()))
        .region(scratch.plus(layout.tilesAt()))
        .value(lists)
        .value(tileRows);
    stream.dispatch(offsets, 1, 1, 1, SCAN_GROUP);

    arguments(stream, layout, scratch, selection, firstHead)
        .region(scratch.plus(layout.offsetsAt()))
        .region(scratch.plus(layout.entriesAt()));
    stream.dispatch(scatter, groups, 1, 1, LIST_GROUP);

    stream.arguments().region(scratch.plus(layout.tilesAt())).region(listOfTile).value(lists);
    stream.dispatch(tiles, groups(mostTiles, LIST_GROUP), 1, 1, LIST_GROUP);
  }

  private static Arguments arguments(
      ComputeStream stream,
      MobaListLayout layout,
      Region scratch,
      Selection selection,
      int firstHead) {
    return selection
        .putInto(stream.arguments())
        .region(scratch.plus(layout.homesAt()))
        .region(scratch.plus(layout.matrixAt()))
        .value(layout.entriesPerHead())
        .value(layout.blocks())
        .value(firstHead)
        .value(layout.group())
        .value(layout.slots())
        .value(layout.tileOfRows())
        .value(layout.tiles())
        .value(layout.tokens());
  }
}
