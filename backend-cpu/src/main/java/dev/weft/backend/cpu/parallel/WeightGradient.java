package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * dW = U^T V: the gradient of a matrix of which U holds the gradients at its outputs and V its
 * inputs, a row for each use. A range of columns of U, which are rows of dW, is packed with the
 * uses as lanes; columns of V pass in panels. Each element is the sum over batches of {@link
 * Arithmetic#LANES} uses in order, whatever the ranges. For one task at a time.
 */
final class WeightGradient {
  private static final int LANES = Arithmetic.LANES;

  // Panels of columns that are summed before any is written.
  private static final int PANELS = 8;

  private static final int PACKED = 0;
  private static final int COLUMNS = 1;
  private static final int SUMS = 2;
  private static final int ROW = 3;
  private static final int BIAS = 4;

  private final Arithmetic arithmetic;
  private final TaskScratch scratch;
  private final boolean accumulate;

  WeightGradient(Arithmetic arithmetic, TaskScratch scratch, boolean accumulate) {
    this.arithmetic = arithmetic;
    this.scratch = scratch;
    this.accumulate = accumulate;
  }

  /**
   * Computes and writes some rows of dW.
   *
   * @param u gradients at outputs, of the uses {@code uRows} from {@code uFirst} on
   * @param scales what each use of u is multiplied with, from {@code scalesAt} on; null for 1
   * @param v inputs, of the uses {@code vRows} from {@code vFirst} on
   * @param count how many uses
   * @param from the first row of dW
   * @param height how many
   * @param dw takes them; null if they are not wanted
   * @return for each row the sum of u over the uses, from 0 on: the gradient of a bias
   */
  float[] compute(
      MatrixRows u,
      int[] uRows,
      int uFirst,
      float @Nullable [] scales,
      int scalesAt,
      MatrixRows v,
      int[] vRows,
      int vFirst,
      int count,
      int from,
      int height,
      @Nullable MatrixRows dw) {
    int batches = Math.ceilDiv(count, LANES);
    float[] packed = scratch.floats(PACKED, batches * height * LANES);
    float[] columns = scratch.floats(COLUMNS, LANES * LANES);
    float[] sums = scratch.floats(SUMS, PANELS * height * LANES);
    float[] row = scratch.floats(ROW, Math.max(height, LANES));
    float[] bias = scratch.floats(BIAS, height);
    Arrays.fill(bias, 0, height, 0);
    for (int i = 0; i < count; i++) {
      arithmetic.read(u.type(), u.segment(), u.offset(uRows[uFirst + i], from), row, 0, height);
      for (int r = 0; scales != null && r < height; r++) {
        row[r] *= scales[scalesAt + i];
      }
      arithmetic.addScaled(1, row, 0, bias, 0, height);
      Panels.toLane(row, 0, height, packed, i / LANES * height * LANES + i % LANES);
    }
    for (int c = 0; dw != null && c < dw.length(); c += PANELS * LANES) {
      int end = Math.min(dw.length(), c + PANELS * LANES);
      Arrays.fill(sums, 0, PANELS * height * LANES, 0);
      for (int batch = 0; batch < batches; batch++) {
        int some = Math.min(LANES, count - batch * LANES);
        for (int column = c; column < end; column += LANES) {
          int width = Math.min(LANES, end - column);
          for (int i = 0; i < some; i++) {
            int use = vRows[vFirst + batch * LANES + i];
            long offset = v.offset(use, column);
            arithmetic.read(v.type(), v.segment(), offset, columns, i * LANES, width);
          }
          int panel = (column - c) / LANES * height * LANES;
          int at = batch * height * LANES;
          int lanes = arithmetic.wholeVectors(width);
          arithmetic.multiplyRows(height, some, lanes, packed, at, LANES, columns, 0, sums, panel);
        }
      }
      // Panels side by side, so that a row's piece is long where it is written.
      for (int r = 0; r < height; r++) {
        for (int column = c; column < end; column += LANES) {
          int width = Math.min(LANES, end - column);
          int at = ((column - c) / LANES * height + r) * LANES;
          long offset = dw.offset(from + (long) r, column);
          if (accumulate) {
            arithmetic.read(dw.type(), dw.segment(), offset, row, 0, width);
            arithmetic.addScaled(1, row, 0, sums, at, width);
          }
          arithmetic.write(dw.type(), sums, at, dw.segment(), offset, width);
        }
      }
    }
    return bias;
  }
}
