package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;

/**
 * Z += Y W for some rows of Y and a range of columns of W: how MoE goes back through a projection.
 * Rows of Y become lanes of one panel; of W some rows are read at a time, a range of columns of
 * each. Each element of Z is the sum over pieces of {@link #DEPTH} rows of W in order, whatever the
 * ranges. For one task at a time.
 */
final class TransposedProjection {
  private static final int LANES = Arithmetic.LANES;
  private static final int DEPTH = 128;

  // Columns of W that are read at a time: a multiple of what any register tile takes, and of no
  // power
  // of two, lest rows fall into the same sets of the cache. Short pieces of rows are slow to read.
  private static final int COLUMNS = 1056;

  private static final int PANEL = 0;
  private static final int WEIGHTS = 1;
  private static final int ROW = 3;

  private final Arithmetic arithmetic;
  private final TaskScratch scratch;

  TransposedProjection(Arithmetic arithmetic, TaskScratch scratch) {
    this.arithmetic = arithmetic;
    this.scratch = scratch;
  }

  /**
   * Multiplies.
   *
   * @param y holds the rows, as long as W has rows
   * @param rows which of them, from {@code first} on
   * @param count how many, at most {@link Arithmetic#LANES}
   * @param from first column of W
   * @param width how many
   * @param z takes the sums, a panel of {@code width} rows from 0 on
   */
  void add(
      MatrixRows y,
      int[] rows,
      int first,
      int count,
      MatrixRows w,
      int from,
      int width,
      float[] z) {
    int depth = y.length();
    int lanes = arithmetic.wholeVectors(count);
    float[] panel = scratch.floats(PANEL, DEPTH * LANES);
    float[] block = scratch.floats(WEIGHTS, DEPTH * COLUMNS + Arithmetic.SLACK);
    float[] row = scratch.floats(ROW, DEPTH);
    for (int k = 0; k < depth; k += DEPTH) {
      int piece = Math.min(DEPTH, depth - k);
      for (int i = 0; i < count; i++) {
        arithmetic.read(y.type(), y.segment(), y.offset(rows[first + i], k), row, 0, piece);
        Panels.toLane(row, 0, piece, panel, i);
      }
      for (int i = count; i < lanes; i++) { // computed with, though nobody looks at them
        Panels.clearLane(piece, panel, i);
      }
      for (int c = 0; c < width; c += COLUMNS) {
        int some = Math.min(COLUMNS, width - c);
        for (int r = 0; r < piece; r++) {
          arithmetic.read(
              w.type(), w.segment(), w.offset(k + r, from + c), block, r * COLUMNS, some);
        }
        arithmetic.multiplyColumns(some, piece, lanes, block, 0, COLUMNS, panel, 0, z, c * LANES);
      }
    }
  }
}
