package dev.weft.backend.cuda.moba;

import dev.weft.Limits;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.moba.MobaListLayout;
import dev.weft.moba.MobaAttentionSpec;

/**
 * How a backward pass is cut into groups of key-value heads, and where its scratch memory lies: a
 * pure function of sizes. First the statistics of rows, then tables and lists, then the partial
 * gradients of q: one F32 row for each entry of a list, and one for each query row.
 *
 * @param lists of {@code lists.heads()} key-value heads at once
 * @param partialHeads key-value heads whose partials exist at once
 * @param statsBytes of lse and delta, and a counter
 * @param partialBytes of one key-value head
 * @param bytes scratch in all; larger limits never need less
 */
record MobaBackwardPlan(
    MobaListLayout lists, int partialHeads, long statsBytes, long partialBytes, long bytes) {
  /** Partials beyond one head stop growing here: enough rows to fill a device many times over. */
  private static final long PARTIAL_BUDGET = 576L << 20;

  static MobaBackwardPlan of(MobaAttentionSpec spec, Limits limits) {
    int tokens = TensorLayout.tokens(limits.tokens());
    int sequences = Math.toIntExact(limits.sequences());
    int heads = spec.kvHeads();
    int slots = MobaListLayout.slots(tokens, spec.blockSize(), spec.topK());
    MobaListLayout one =
        new MobaListLayout(tokens, sequences, spec.heads() / heads, slots, spec.blockSize(), 1);
    long stats = MobaListLayout.aligned(8L * tokens * spec.heads() + Integer.BYTES);
    long partial =
        MobaListLayout.aligned(
            Math.multiplyExact(one.entriesPerHead() + one.rows(), 4L * partialPitch(spec)));
    long least = stats + one.bytes() + partial;
    long most =
        stats
            + one.ofHeads(heads).bytes()
            + Math.max(
                partial, Math.min(Math.multiplyExact(partial, (long) heads), PARTIAL_BUDGET));
    long bytes = Math.max(least, Math.min(most, spec.workspaceLimit()));
    int listHeads = heads;
    while (listHeads > 1 && stats + one.ofHeads(listHeads).bytes() + partial > bytes) {
      listHeads--;
    }
    MobaListLayout lists = one.ofHeads(listHeads);
    int partialHeads = listHeads;
    while (partialHeads > 1 && stats + lists.bytes() + partialHeads * partial > bytes) {
      partialHeads--;
    }
    return new MobaBackwardPlan(lists, partialHeads, stats, partial, bytes);
  }

  /** F32 numbers from one partial to the next: pairs of them are stored at once. */
  static int partialPitch(MobaAttentionSpec spec) {
    return (spec.headDim() + 1) / 2 * 2;
  }

  /** A counter behind the statistics. */
  long ticketAt() {
    return statsBytes - Integer.BYTES;
  }

  long listsAt() {
    return statsBytes;
  }

  long partialsAt() {
    return statsBytes + lists.bytes();
  }

  /** Behind the partials of entries: one for each row, of its own block. */
  long ownPartialsAt(MobaAttentionSpec spec, int heads) {
    return partialsAt() + heads * lists.entriesPerHead() * 4L * partialPitch(spec);
  }

  /** Thread blocks for one block of keys, of so many keys (or rows of queries) each. */
  static int parts(long count, int each) {
    return Math.toIntExact((count + each - 1) / each);
  }
}
