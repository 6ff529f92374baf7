package dev.weft.gpu.moba;

import dev.weft.Limits;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;

/**
 * How a forward or paged launch of the portable recipe uses scratch memory: a pure function of
 * spec, sizes and tiles. Key-value heads go in groups, as many at once as the limit has room for.
 *
 * @param lists tables and lists, of one group's heads
 * @param valuePitch columns of a row of parts
 * @param meanPitch columns of a row of means; 0 if means lie in the cache
 * @param elementBytes of the storage type
 * @param kvHeads all key-value heads
 * @param tileRows rows of a tile of a list
 * @param bytes scratch of any launch that is not larger
 */
record MobaForwardPlan(
    MobaListLayout lists,
    int valuePitch,
    int meanPitch,
    int elementBytes,
    int kvHeads,
    int tileRows,
    long bytes) {
  /** What a group takes at most, where the spec's limit allows so much. */
  private static final long MOST_GROUP_BYTES = 640L << 20;

  private static final int ALIGNMENT = 256;
  private static final int PITCH = 8;

  static MobaForwardPlan of(MobaAttentionSpec spec, Mode mode, Limits limits, int tileRows) {
    MobaForwardPlan best = ofHeads(spec, mode, limits, tileRows, 1);
    for (int heads = 2; heads <= spec.kvHeads(); heads++) {
      MobaForwardPlan plan = ofHeads(spec, mode, limits, tileRows, heads);
      if (plan.groupBytes() > MOST_GROUP_BYTES || plan.exactBytes() > spec.workspaceLimit()) {
        break;
      }
      best = plan;
    }
    // Where not all heads fit, larger sizes make fewer fit: without the limit as a floor they could
    // need less.
    long bytes = best.exactBytes();
    if (best.lists.heads() < spec.kvHeads()) {
      long limit = spec.workspaceLimit() - spec.workspaceLimit() % ALIGNMENT;
      bytes = Math.max(bytes, Math.min(best.fixedBytes() + MOST_GROUP_BYTES, limit));
    }
    return new MobaForwardPlan(
        best.lists,
        best.valuePitch,
        best.meanPitch,
        best.elementBytes,
        best.kvHeads,
        tileRows,
        bytes);
  }

  private static MobaForwardPlan ofHeads(
      MobaAttentionSpec spec, Mode mode, Limits limits, int tileRows, int heads) {
    return new MobaForwardPlan(
        MobaListLayout.of(spec, mode, limits, heads),
        pitch(spec.valueDim()),
        mode == Mode.PAGED ? 0 : pitch(spec.headDim()),
        spec.dataType().bytes(),
        spec.kvHeads(),
        tileRows,
        0);
  }

  /** Groups of 8 columns are read at once. */
  private static int pitch(int columns) {
    return (columns + PITCH - 1) / PITCH * PITCH;
  }

  private long parts() {
    return lists.heads() * lists.rows() * (lists.slots() + 1);
  }

  private long meanBytes() {
    return lists.slots() == 0 ? 0 : (long) lists.blocks() * kvHeads * meanPitch * elementBytes;
  }

  /** Tiles of the lists of so many heads at most. */
  long mostTiles(int heads) {
    long entries = lists.entriesPerHead();
    return heads * (entries / tileRows + Math.min(lists.blocks(), entries));
  }

  /** Selections of all heads, so that those of a group lie as a caller's do. */
  long selectionAt() {
    return MobaListLayout.aligned(meanBytes());
  }

  long listsAt() {
    return selectionAt() + MobaListLayout.aligned(4L * kvHeads * lists.entriesPerHead());
  }

  long listOfTileAt() {
    return listsAt() + lists.bytes();
  }

  long partSumsAt() {
    return listOfTileAt() + MobaListLayout.aligned(4 * mostTiles(lists.heads()));
  }

  long partsAt() {
    return partSumsAt() + MobaListLayout.aligned(8 * parts());
  }

  private long exactBytes() {
    // A heap of 8 bytes for each entry takes the place of parts before there are any.
    return partsAt()
        + MobaListLayout.aligned(parts() * Math.max(8L, (long) valuePitch * elementBytes));
  }

  private long fixedBytes() {
    return listsAt();
  }

  private long groupBytes() {
    return exactBytes() - fixedBytes();
  }
}
