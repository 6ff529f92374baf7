package dev.weft.backend.cpu.parallel;

import dev.weft.DataType;
import dev.weft.Limits;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.moe.MoeDispatchSpec;
import java.lang.foreign.MemorySegment;

/**
 * The scratch of a forward pass: for each row of a group of tokens its activation and its output,
 * F32. A token has topK rows, and one more where there is a shared expert.
 */
final class MoeWorkspace {
  // Weights are read once per group, so groups are as large as memory may reasonably be.
  private static final long MOST_BYTES = 512L << 20;

  private final MemorySegment segment;
  private final int groupTokens;
  private final MatrixRows activations;
  private final MatrixRows outputs;

  /**
   * Lays it out.
   *
   * @param segment of {@link #bytes}
   */
  MoeWorkspace(MoeDispatchSpec spec, MemorySegment segment) {
    this.segment = segment;
    groupTokens = Math.clamp(segment.byteSize() / bytesPerToken(spec), 1, Integer.MAX_VALUE);
    int width = width(spec);
    activations = new MatrixRows(DataType.F32, segment, 0, 4L * width, width);
    long start = (long) groupTokens * rows(spec) * width * Float.BYTES;
    outputs = new MatrixRows(DataType.F32, segment, start, 4L * spec.hidden(), spec.hidden());
  }

  static long bytes(MoeDispatchSpec spec, Limits limits) {
    long perToken = bytesPerToken(spec);
    long most = Math.min(spec.workspaceLimit(), MOST_BYTES) / perToken;
    return Math.min(limits.tokens(), Math.max(1, most)) * perToken;
  }

  private static long bytesPerToken(MoeDispatchSpec spec) {
    return (long) rows(spec) * (width(spec) + spec.hidden()) * Float.BYTES;
  }

  private static int rows(MoeDispatchSpec spec) {
    return spec.topK() + (spec.sharedIntermediate() > 0 ? 1 : 0);
  }

  private static int width(MoeDispatchSpec spec) {
    return Math.max(spec.intermediate(), spec.sharedIntermediate());
  }

  int groupTokens() {
    return groupTokens;
  }

  MemorySegment segment() {
    return segment;
  }

  /** Rows as wide as the widest expert's. */
  MatrixRows activations() {
    return activations;
  }

  /** The same rows, read as an expert's of this width. */
  MatrixRows activations(int width) {
    return new MatrixRows(DataType.F32, segment, activations.start(), activations.pitch(), width);
  }

  MatrixRows outputs() {
    return outputs;
  }
}
