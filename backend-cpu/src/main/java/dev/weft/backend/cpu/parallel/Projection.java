package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import java.util.Arrays;

/**
 * Z = X W^T for some rows of X and a range of rows of W: how MoE multiplies. Rows of X become lanes
 * of panels; W is read once, a few rows and {@link #DEPTH} columns at a time, each widened into the
 * caches and met with all panels. Few rows of X take dot products instead, which stream W and pack
 * nothing.
 *
 * <p>Each element of Z is the sum over pieces of {@link #DEPTH} columns in order, whatever the
 * ranges: results do not depend on how the work is cut. For one task at a time.
 */
final class Projection {
  /** Rows of X for which packing does not pay. */
  static final int FEW = 12;

  /** Rows of X of one task, at most: their panels and sums fit the caches. */
  static final int MOST_ROWS = 4 * Arithmetic.LANES;

  private static final int LANES = Arithmetic.LANES;

  // Summed at once: a panel's 64 x 128 floats stay in the first-level cache for many rows of W.
  private static final int DEPTH = 128;

  // Columns of W that are read at once: whole rows where possible, since rows that follow each
  // other
  // in memory are read half as fast again as pieces of them. Fewer where there are more panels: one
  // or two of that depth are next to the second-level cache.
  private static final int MOST_DEPTH = 4096;

  // Rows of W that are widened together; a multiple of what any register tile takes.
  private static final int ROWS = 48;

  // Which arrays of the scratch are used.
  private static final int PANELS = 0;
  private static final int WEIGHTS = 1;
  private static final int DENSE = 2;
  private static final int ROW = 3;

  private final Arithmetic arithmetic;
  private final TaskScratch scratch;

  Projection(Arithmetic arithmetic, TaskScratch scratch) {
    this.arithmetic = arithmetic;
    this.scratch = scratch;
  }

  /**
   * Multiplies.
   *
   * @param x holds the rows
   * @param rows which of them, from {@code first} on
   * @param count how many, at most {@link #MOST_ROWS}
   * @param weights one or two matrices W of rows as long as x's
   * @param from first row of each W
   * @param height how many
   * @param z takes the sums, transposed: element (row i of matrix m, lane) of panel p at {@code ((p
   *     * weights.length + m) * height + i) * LANES + lane}
   */
  void multiply(
      MatrixRows x,
      int[] rows,
      int first,
      int count,
      MatrixRows[] weights,
      int from,
      int height,
      float[] z) {
    if (count <= FEW) {
      few(x, rows, first, count, weights, from, height, z);
      return;
    }
    int panels = Math.ceilDiv(count, LANES);
    int tall = weights.length * height;
    int depth = x.length();
    int unit = Math.min(depth, panels <= 2 ? MOST_DEPTH : MOST_DEPTH / 2);
    float[] packed = scratch.floats(PANELS, panels * unit * LANES);
    // Rows a power of two apart would all fall into the same sets of the cache.
    int pitch = unit + 16;
    float[] block = scratch.floats(WEIGHTS, ROWS * pitch);
    float[] row = scratch.floats(ROW, unit);
    Arrays.fill(z, 0, panels * tall * LANES, 0);
    for (int k = 0; k < depth; k += unit) {
      int wide = Math.min(unit, depth - k);
      pack(x, rows, first, count, k, wide, packed, unit, row);
      for (int m = 0; m < weights.length; m++) {
        MatrixRows w = weights[m];
        for (int i = 0; i < height; i += ROWS) {
          int some = Math.min(ROWS, height - i);
          for (int r = 0; r < some; r++) {
            arithmetic.read(
                w.type(), w.segment(), w.offset(from + i + r, k), block, r * pitch, wide);
          }
          for (int p = 0; p < panels; p++) {
            int lanes = arithmetic.wholeVectors(Math.min(LANES, count - p * LANES));
            int at = (p * tall + m * height + i) * LANES;
            for (int d = 0; d < wide; d += DEPTH) {
              int panel = (p * unit + d) * LANES;
              int piece = Math.min(DEPTH, wide - d);
              arithmetic.multiplyRows(some, piece, lanes, block, d, pitch, packed, panel, z, at);
            }
          }
        }
      }
    }
  }

  private void pack(
      MatrixRows x,
      int[] rows,
      int first,
      int count,
      int k,
      int wide,
      float[] packed,
      int unit,
      float[] row) {
    for (int i = 0; i < count; i++) {
      int at = i / LANES * unit * LANES + i % LANES;
      arithmetic.read(x.type(), x.segment(), x.offset(rows[first + i], k), row, 0, wide);
      Panels.toLane(row, 0, wide, packed, at);
    }
    for (int i = count; i % 16 != 0; i++) { // computed with, though nobody looks at them
      Panels.clearLane(wide, packed, i / LANES * unit * LANES + i % LANES);
    }
  }

  private void few(
      MatrixRows x,
      int[] rows,
      int first,
      int count,
      MatrixRows[] weights,
      int from,
      int height,
      float[] z) {
    int depth = x.length();
    float[] dense = scratch.floats(DENSE, count * depth);
    for (int i = 0; i < count; i++) {
      arithmetic.read(x.type(), x.segment(), x.offset(rows[first + i], 0), dense, i * depth, depth);
    }
    float[] block = scratch.floats(WEIGHTS, 4 * depth + Arithmetic.DOT_SLACK);
    float[] sums = scratch.floats(ROW, count * height);
    for (int m = 0; m < weights.length; m++) {
      arithmetic.dots(weights[m], from, height, dense, depth, count, sums, 0, height, block);
      for (int i = 0; i < count; i++) {
        Panels.toLane(sums, i * height, height, z, m * height * LANES + i);
      }
    }
  }
}
