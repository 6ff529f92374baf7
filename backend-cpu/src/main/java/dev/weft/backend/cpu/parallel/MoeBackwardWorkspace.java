package dev.weft.backend.cpu.parallel;

import dev.weft.DataType;
import dev.weft.Limits;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec.Source;
import java.lang.foreign.MemorySegment;

/**
 * The scratch of a backward pass, F32: dx of all tokens, and for each row of a group of experts (a
 * slot, or a token of the shared expert) its activation [I], the gradients at its projections [2I]
 * and at its input [H], and what its scale's gradient is summed from.
 */
final class MoeBackwardWorkspace {
  /** Columns of an activation whose part in a scale's gradient is summed at once. */
  static final int BLOCK = 64;

  // A group of experts takes no more than this, unless a single expert needs it.
  private static final long MOST_BYTES = 512L << 20;

  private final long rows;
  final MatrixRows dx;
  final MatrixRows activations;
  final MatrixRows gates;
  final MatrixRows ups;
  final MatrixRows inputs;
  final MatrixRows parts;

  MoeBackwardWorkspace(MoeDispatchSpec spec, MemorySegment segment, long tokens) {
    rows = rows(spec, tokens);
    int width = width(spec);
    long at = 0;
    dx = matrix(segment, at, spec.hidden());
    at += tokens * spec.hidden() * Float.BYTES;
    activations = matrix(segment, at, width);
    at += rows * width * Float.BYTES;
    gates = matrix(segment, at, width);
    at += rows * width * Float.BYTES;
    ups = matrix(segment, at, width);
    at += rows * width * Float.BYTES;
    inputs = matrix(segment, at, spec.hidden());
    at += rows * spec.hidden() * Float.BYTES;
    parts = matrix(segment, at, Math.ceilDiv(width, BLOCK));
  }

  private static MatrixRows matrix(MemorySegment segment, long start, int width) {
    return new MatrixRows(DataType.F32, segment, start, (long) width * Float.BYTES, width);
  }

  /** The same rows, read as an expert's of this width. */
  static MatrixRows narrow(MatrixRows matrix, int width) {
    return new MatrixRows(matrix.type(), matrix.segment(), matrix.start(), matrix.pitch(), width);
  }

  static long bytes(MoeDispatchSpec spec, Limits limits) {
    return limits.tokens() * spec.hidden() * Float.BYTES
        + rows(spec, limits.tokens()) * bytesPerRow(spec);
  }

  private static long bytesPerRow(MoeDispatchSpec spec) {
    int width = width(spec);
    return (3L * width + spec.hidden() + Math.ceilDiv(width, BLOCK)) * Float.BYTES;
  }

  /** One expert may get all slots where ids are given, else at most every token once. */
  private static long rows(MoeDispatchSpec spec, long tokens) {
    long all = tokens * spec.topK();
    if (spec.router().source() == Source.GIVEN) {
      return all;
    }
    long most = Math.min(spec.workspaceLimit(), MOST_BYTES) / bytesPerRow(spec);
    return Math.clamp(most, tokens, all);
  }

  private static int width(MoeDispatchSpec spec) {
    return Math.max(spec.intermediate(), spec.sharedIntermediate());
  }

  /** How many rows a group may have. */
  long rows() {
    return rows;
  }
}
