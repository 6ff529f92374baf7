package dev.weft.backend.cpu.parallel;

import dev.weft.Limits;
import dev.weft.moba.MobaAttentionSpec;
import java.lang.foreign.MemorySegment;

/**
 * The scratch of a backward pass, for some kv heads at a time: which rows read each block, each
 * row's delta (dout . out), and, where there is room, what each block adds to each row's dq. With
 * these parts scores are computed once for all gradients; without them, once more for dq.
 *
 * <p>A row of a kv head is {@code token * group + head within the group}. It has topK parts, F32
 * [D]: one for each slot of its selection, and the last for its own block.
 */
final class MobaBackwardWorkspace {
  // Parts are as large as dq times topK.
  private static final long MOST_BYTES = 512L << 20;

  // A task computes a whole block, lest two add to the same parts.
  private static final int LARGEST_BLOCK = 1024;

  private final MobaAttentionSpec spec;
  private final MemorySegment segment;
  private final boolean withParts;
  private final int headsPerPass;
  private final long rows;
  private final long readerBytes;

  /**
   * Lays it out.
   *
   * @param limits the launch's sizes
   * @param segment of {@link #bytes}
   */
  MobaBackwardWorkspace(MobaAttentionSpec spec, Limits limits, MemorySegment segment) {
    this.spec = spec;
    this.segment = segment;
    long partly = plain(spec, limits);
    long all = partly + parts(spec, limits);
    withParts = spec.blockSize() <= LARGEST_BLOCK && all <= budget(spec);
    headsPerPass =
        Math.clamp(bytes(spec, limits) / Math.max(1, withParts ? all : partly), 1, spec.kvHeads());
    rows = rows(spec, limits);
    readerBytes = spec.topK() == 1 ? 0 : MobaReaders.bytes(spec, limits);
  }

  /** Grows with the limits, even where parts no longer fit. */
  static long bytes(MobaAttentionSpec spec, Limits limits) {
    long plain = plain(spec, limits);
    long fitting = plain == 0 ? spec.kvHeads() : spec.workspaceLimit() / plain;
    long least = plain * Math.clamp(fitting, 1, spec.kvHeads());
    if (spec.blockSize() > LARGEST_BLOCK) {
      return least;
    }
    long all = (plain + parts(spec, limits)) * spec.kvHeads();
    return Math.max(least, Math.min(all, budget(spec)));
  }

  private static long budget(MobaAttentionSpec spec) {
    return Math.min(spec.workspaceLimit(), MOST_BYTES);
  }

  private static long rows(MobaAttentionSpec spec, Limits limits) {
    return limits.tokens() * (spec.heads() / spec.kvHeads());
  }

  private static long plain(MobaAttentionSpec spec, Limits limits) {
    long readers = spec.topK() == 1 ? 0 : MobaReaders.bytes(spec, limits);
    return readers + rows(spec, limits) * Float.BYTES;
  }

  private static long parts(MobaAttentionSpec spec, Limits limits) {
    return rows(spec, limits) * spec.topK() * spec.headDim() * Float.BYTES;
  }

  /** Whether there is room for parts of dq. */
  boolean hasParts() {
    return withParts;
  }

  int headsPerPass() {
    return headsPerPass;
  }

  /** For the readers of the kv heads of a pass. */
  MemorySegment readers() {
    return segment.asSlice(0, readerBytes * headsPerPass);
  }

  MemorySegment segment() {
    return segment;
  }

  /**
   * Finds a row's delta.
   *
   * @param head kv head within the pass
   * @return bytes from the start of the segment
   */
  long delta(int head, long row) {
    return readerBytes * headsPerPass + (head * rows + row) * Float.BYTES;
  }

  /**
   * Finds a part of a row's dq.
   *
   * @param head kv head within the pass
   * @return bytes from the start of the segment
   */
  long part(int head, long row, int slot) {
    long start = delta(headsPerPass, 0);
    return start + ((head * rows + row) * spec.topK() + slot) * spec.headDim() * Float.BYTES;
  }
}
