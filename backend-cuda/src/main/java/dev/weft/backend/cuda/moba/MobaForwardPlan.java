package dev.weft.backend.cuda.moba;

import dev.weft.Limits;
import dev.weft.gpu.moba.MobaListLayout;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;

/**
 * How a forward or paged launch uses scratch memory: a pure function of spec and sizes. Key-value
 * heads go in groups, as many at once as the limit has room for. Few queries over the cache go
 * without lists, all heads at once (direct.cuh).
 *
 * @param lists tables and lists, of one group's heads
 * @param valuePitch columns of a row of partial results
 * @param meanPitch columns of a row of means; 0 if means lie in the cache
 * @param elementBytes of the storage type
 * @param kvHeads all key-value heads
 * @param direct whether there are so few queries that lists do not pay
 * @param bytes scratch of any launch that is not larger
 */
record MobaForwardPlan(
    MobaListLayout lists,
    int valuePitch,
    int meanPitch,
    int elementBytes,
    int kvHeads,
    boolean direct,
    long bytes) {
  /** What a group takes at most, where the spec's limit allows so much. */
  private static final long MOST_GROUP_BYTES = 512L << 20;

  /** New tokens for each sequence, on average, up to which lists do not pay. */
  private static final int DIRECT_TOKENS = 8;

  private static final int ALIGNMENT = 256;
  private static final int PITCH = 8;

  static MobaForwardPlan of(MobaAttentionSpec spec, Mode mode, Limits limits) {
    MobaForwardPlan best = null;
    for (int heads = 1; heads <= spec.kvHeads(); heads++) {
      MobaForwardPlan plan = ofHeads(spec, mode, limits, heads);
      boolean fits =
          plan.groupBytes() <= MOST_GROUP_BYTES && plan.exactBytes() <= spec.workspaceLimit();
      if (best != null && !fits) {
        break;
      }
      best = plan;
    }
    if (best == null) {
      throw new IllegalStateException("no key-value heads");
    }
    // Where not all heads fit, larger sizes make fewer fit: without the limit as a floor they could
    // need less.
    long bytes = best.exactBytes();
    if (best.lists.heads() < spec.kvHeads()) {
      bytes = Math.max(bytes, Math.min(best.fixedBytes() + MOST_GROUP_BYTES, limit(spec)));
    }
    boolean direct = false;
    if (mode == Mode.PAGED) {
      // Room for both ways: with more tokens the other one may need less.
      int tokens = best.lists.tokens();
      long directTokens = Math.min(tokens, DIRECT_TOKENS * (long) best.lists.sequences());
      long needed = best.directBytes(directTokens);
      if (needed <= MOST_GROUP_BYTES && needed <= spec.workspaceLimit()) {
        bytes = Math.max(bytes, needed);
        direct = directTokens == tokens;
      } else {
        bytes = Math.max(bytes, Math.min(MOST_GROUP_BYTES, limit(spec)));
      }
    }
    return new MobaForwardPlan(
        best.lists,
        best.valuePitch,
        best.meanPitch,
        best.elementBytes,
        best.kvHeads,
        direct,
        bytes);
  }

  private static long limit(MobaAttentionSpec spec) {
    return spec.workspaceLimit() - spec.workspaceLimit() % ALIGNMENT;
  }

  private static MobaForwardPlan ofHeads(
      MobaAttentionSpec spec, Mode mode, Limits limits, int heads) {
    return new MobaForwardPlan(
        MobaListLayout.of(spec, mode, limits, heads),
        pitch(spec.valueDim()),
        mode == Mode.PAGED ? 0 : pitch(spec.headDim()),
        spec.dataType().bytes(),
        spec.kvHeads(),
        false,
        0);
  }

  private static int pitch(int columns) {
    return (columns + PITCH - 1) / PITCH * PITCH;
  }

  private long entries() {
    return lists.heads() * lists.entriesPerHead();
  }

  private long meanBytes() {
    return lists.slots() == 0 ? 0 : (long) lists.blocks() * kvHeads * meanPitch * elementBytes;
  }

  long listsAt() {
    return MobaListLayout.aligned(meanBytes());
  }

  long selectionAt() {
    return listsAt() + MobaListLayout.aligned(lists.bytes());
  }

  long partialLseAt() {
    return selectionAt() + MobaListLayout.aligned(4 * entries());
  }

  long partialsAt() {
    return partialLseAt() + MobaListLayout.aligned(4 * entries());
  }

  /** Selection, sums and partial results of all heads, in F32, the own block's too. */
  private long directBytes(long directTokens) {
    long rows = directTokens * lists.group() * kvHeads;
    return directPartialsAt(rows)
        + MobaListLayout.aligned(rows * (lists.slots() + 1L) * valuePitch * 4);
  }

  private long directRows() {
    return (long) lists.tokens() * lists.group() * kvHeads;
  }

  long directPartialLseAt() {
    return directPartialLseAt(directRows());
  }

  private long directPartialLseAt(long rows) {
    return MobaListLayout.aligned(4 * rows * lists.slots());
  }

  long directPartialsAt() {
    return directPartialsAt(directRows());
  }

  private long directPartialsAt(long rows) {
    return directPartialLseAt(rows) + MobaListLayout.aligned(4 * rows * (lists.slots() + 1L));
  }

  private long exactBytes() {
    return partialsAt() + MobaListLayout.aligned(entries() * valuePitch * elementBytes);
  }

  private long fixedBytes() {
    return MobaListLayout.aligned(meanBytes());
  }

  private long groupBytes() {
    return exactBytes() - fixedBytes();
  }
}
