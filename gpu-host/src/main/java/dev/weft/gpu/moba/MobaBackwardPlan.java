package dev.weft.gpu.moba;

import dev.weft.Limits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;

/**
 * How a backward pass of the portable recipe is cut into groups of key-value heads, and where its
 * scratch memory lies: a pure function of sizes. First the statistics of rows, then tables and
 * lists, then the parts of the gradient of q: F32, one row for each slot of a query row and one for
 * its own block.
 *
 * @param lists of {@code lists.heads()} key-value heads at once
 * @param partHeads key-value heads whose parts exist at once
 * @param side rows of a tile of a list
 * @param statsBytes of lse and delta
 * @param partBytes of one key-value head
 * @param bytes scratch in all; larger limits never need less
 */
record MobaBackwardPlan(
    MobaListLayout lists, int partHeads, int side, long statsBytes, long partBytes, long bytes) {
  /** Parts beyond one head stop growing here: enough rows to fill a device many times over. */
  private static final long PART_BUDGET = 576L << 20;

  private static final int PITCH = 4;

  static MobaBackwardPlan of(MobaAttentionSpec spec, Limits limits, int side) {
    int tokens = TensorLayout.tokens(limits.tokens());
    int sequences = Math.toIntExact(limits.sequences());
    int heads = spec.kvHeads();
    int slots = MobaListLayout.slots(tokens, spec.blockSize(), spec.topK());
    MobaListLayout one =
        new MobaListLayout(tokens, sequences, spec.heads() / heads, slots, spec.blockSize(), 1);
    long stats = MobaListLayout.aligned(8L * tokens * spec.heads());
    long part =
        MobaListLayout.aligned(Math.multiplyExact(one.rows() * (slots + 1), 4L * partPitch(spec)));
    long least = stats + listBytes(one, side) + part;
    long most =
        stats
            + listBytes(one.ofHeads(heads), side)
            + Math.max(part, Math.min(Math.multiplyExact(part, (long) heads), PART_BUDGET));
    long bytes = Math.max(least, Math.min(most, spec.workspaceLimit()));
    int listHeads = heads;
    while (listHeads > 1 && stats + listBytes(one.ofHeads(listHeads), side) + part > bytes) {
      listHeads--;
    }
    MobaListLayout lists = one.ofHeads(listHeads);
    int partHeads = listHeads;
    while (partHeads > 1 && stats + listBytes(lists, side) + partHeads * part > bytes) {
      partHeads--;
    }
    return new MobaBackwardPlan(lists, partHeads, side, stats, part, bytes);
  }

  private static long listBytes(MobaListLayout lists, int side) {
    return lists.bytes() + MobaListLayout.aligned(4 * mostTiles(lists, side, lists.heads()));
  }

  private static long mostTiles(MobaListLayout lists, int side, int heads) {
    long entries = lists.entriesPerHead();
    return heads * (entries / side + Math.min(lists.blocks(), entries));
  }

  /** F32 numbers from one part to the next: four of them are read at once. */
  static int partPitch(MobaAttentionSpec spec) {
    return (spec.headDim() + PITCH - 1) / PITCH * PITCH;
  }

  /** Tiles of the lists of so many heads at most. */
  long mostTiles(int heads) {
    return mostTiles(lists, side, heads);
  }

  long listsAt() {
    return statsBytes;
  }

  long listOfTileAt() {
    return listsAt() + lists.bytes();
  }

  long partsAt() {
    return listsAt() + listBytes(lists, side);
  }
}
