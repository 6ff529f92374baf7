package dev.weft.backend.cpu.arithmetic;

import dev.weft.DataType;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * Dot products of matrix rows in memory with one to a few dense rows, the dimension that is summed
 * over along the vectors: nothing is packed, and four rows of the matrix stream past at once, each
 * from a quarter of its own, so that what is read are four long streams however short a row is. F32
 * and BF16 rows meet up to four dense rows straight from memory, widened in registers; where there
 * are more, the next come while the rows are in the caches. F16 rows are widened into the
 * first-level cache before.
 *
 * <p>Each dot product is one chain of multiply-adds for each lane, then the lanes in order,
 * whatever stands beside it.
 */
final class DotTiles {
  private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
  private static final int LENGTH = FLOATS.length();

  /** Matrix rows side by side. */
  private static final int ROWS = 4;

  /** Dense rows that they meet at once. */
  private static final int MOST = 4;

  private DotTiles() {}

  static void dots(
      Arithmetic arithmetic,
      MatrixRows matrix,
      int firstRow,
      int rows,
      float[] x,
      int xPitch,
      int count,
      float[] out,
      int outAt,
      int outPitch,
      float[] scratch) {
    int depth = matrix.length();
    int whole = depth / LENGTH * LENGTH;
    int streams = Math.ceilDiv(rows, ROWS);
    for (int r = 0; r < streams; r++) {
      if (matrix.type() == DataType.F16) {
        for (int i = 0; i < ROWS; i++) {
          long offset = matrix.offset(firstRow + Math.min(i * streams + r, rows - 1), 0);
          arithmetic.read(matrix.type(), matrix.segment(), offset, scratch, i * depth, depth);
        }
        for (int n = 0; n < count; n++) {
          one(scratch, depth, x, n * xPitch, whole, ROWS * depth);
          int at = outAt + n * outPitch;
          sumLanes(scratch, ROWS * depth, out, at + r, streams, at + rows);
        }
      } else {
        for (int n = 0; n < count; n += MOST) {
          int some = Math.min(MOST, count - n);
          stream(matrix, firstRow, r, streams, rows, x, n * xPitch, xPitch, some, whole, scratch);
          for (int i = 0; i < some; i++) {
            int at = outAt + (n + i) * outPitch;
            sumLanes(scratch, i * ROWS * LENGTH, out, at + r, streams, at + rows);
          }
        }
      }
    }
    for (int i = 0; whole < depth && i < rows; i++) {
      for (int n = 0; n < count; n++) {
        int at = outAt + n * outPitch + i;
        for (int k = whole; k < depth; k++) {
          out[at] = Math.fma(element(matrix, firstRow + i, k), x[n * xPitch + k], out[at]);
        }
      }
    }
  }

  private static float element(MatrixRows matrix, int row, int column) {
    return (float)
        matrix.type().get(matrix.segment(), matrix.offset(row, column) / matrix.type().bytes());
  }

  /** Rows that are not there are the last one once more. */
  private static void stream(
      MatrixRows matrix,
      int firstRow,
      int row,
      int streams,
      int rows,
      float[] x,
      int at,
      int pitch,
      int count,
      int depth,
      float[] lanes) {
    MemorySegment memory = matrix.segment();
    int last = firstRow + rows - 1;
    int first = firstRow + row;
    long r0 = matrix.offset(first, 0);
    long r1 = matrix.offset(Math.min(first + streams, last), 0);
    long r2 = matrix.offset(Math.min(first + 2 * streams, last), 0);
    long r3 = matrix.offset(Math.min(first + 3 * streams, last), 0);
    if (matrix.type() == DataType.F32) {
      switch (count) {
        case 1 -> DotKernels.float32x1(memory, r0, r1, r2, r3, x, at, depth, lanes);
        case 2 -> DotKernels.float32x2(memory, r0, r1, r2, r3, x, at, pitch, depth, lanes);
        case 3 -> DotKernels.float32x3(memory, r0, r1, r2, r3, x, at, pitch, depth, lanes);
        default -> DotKernels.float32x4(memory, r0, r1, r2, r3, x, at, pitch, depth, lanes);
      }
    } else {
      switch (count) {
        case 1 -> DotKernels.bfloat16x1(memory, r0, r1, r2, r3, x, at, depth, lanes);
        case 2 -> DotKernels.bfloat16x2(memory, r0, r1, r2, r3, x, at, pitch, depth, lanes);
        case 3 -> DotKernels.bfloat16x3(memory, r0, r1, r2, r3, x, at, pitch, depth, lanes);
        default -> DotKernels.bfloat16x4(memory, r0, r1, r2, r3, x, at, pitch, depth, lanes);
      }
    }
  }

  /** Four rows of an array, one dense row; the vectors of sums go behind the rows. */
  private static void one(float[] w, int wPitch, float[] x, int xAt, int depth, int lanes) {
    FloatVector s0 = FloatVector.zero(FLOATS);
    FloatVector s1 = FloatVector.zero(FLOATS);
    FloatVector s2 = FloatVector.zero(FLOATS);
    FloatVector s3 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      FloatVector v = FloatVector.fromArray(FLOATS, x, xAt + k);
      s0 = FloatVector.fromArray(FLOATS, w, k).fma(v, s0);
      s1 = FloatVector.fromArray(FLOATS, w, wPitch + k).fma(v, s1);
      s2 = FloatVector.fromArray(FLOATS, w, 2 * wPitch + k).fma(v, s2);
      s3 = FloatVector.fromArray(FLOATS, w, 3 * wPitch + k).fma(v, s3);
    }
    s0.intoArray(w, lanes);
    s1.intoArray(w, lanes + LENGTH);
    s2.intoArray(w, lanes + 2 * LENGTH);
    s3.intoArray(w, lanes + 3 * LENGTH);
  }

  /**
   * Sums the lanes of the vectors of four rows, in the same order for every run.
   *
   * @param at where the first sum goes; the others follow {@code step} apart, while before {@code
   *     end}
   */
  private static void sumLanes(float[] lanes, int from, float[] out, int at, int step, int end) {
    for (int i = 0; i < ROWS && at + i * step < end; i++) {
      float sum = 0;
      for (int lane = from + i * LENGTH; lane < from + (i + 1) * LENGTH; lane += 4) {
        sum += (lanes[lane] + lanes[lane + 1]) + (lanes[lane + 2] + lanes[lane + 3]);
      }
      out[at + i * step] = sum;
    }
  }
}
