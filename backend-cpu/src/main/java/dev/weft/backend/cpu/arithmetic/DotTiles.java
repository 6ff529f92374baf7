package dev.weft.backend.cpu.arithmetic;

import dev.weft.DataType;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * Dot products of matrix rows in memory with one to a few dense rows, the dimension that is summed
 * over along the vectors: nothing is packed, and four rows of the matrix stream past at once. F32
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
    for (int r = 0; r < rows; r += ROWS) {
      int tall = Math.min(ROWS, rows - r);
      if (matrix.type() == DataType.F16) {
        for (int i = 0; i < ROWS; i++) {
          long offset = matrix.offset(firstRow + r + Math.min(i, tall - 1), 0);
          arithmetic.read(matrix.type(), matrix.segment(), offset, scratch, i * depth, depth);
        }
        for (int n = 0; n < count; n++) {
          one(scratch, depth, x, n * xPitch, whole, ROWS * depth);
          sumLanes(scratch, ROWS * depth, tall, out, outAt + n * outPitch + r);
        }
      } else {
        for (int n = 0; n < count; n += MOST) {
          int some = Math.min(MOST, count - n);
          stream(matrix, firstRow + r, tall, x, n * xPitch, xPitch, some, whole, scratch);
          for (int i = 0; i < some; i++) {
            int at = outAt + (n + i) * outPitch + r;
            sumLanes(scratch, i * ROWS * LENGTH, tall, out, at);
          }
        }
      }
      for (int i = 0; whole < depth && i < tall; i++) {
        for (int n = 0; n < count; n++) {
          int at = outAt + n * outPitch + r + i;
          for (int k = whole; k < depth; k++) {
            out[at] = Math.fma(element(matrix, firstRow + r + i, k), x[n * xPitch + k], out[at]);
          }
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
      int row,
      int tall,
      float[] x,
      int at,
      int pitch,
      int count,
      int depth,
      float[] lanes) {
    MemorySegment memory = matrix.segment();
    long r0 = matrix.offset(row, 0);
    long r1 = matrix.offset(row + Math.min(1, tall - 1), 0);
    long r2 = matrix.offset(row + Math.min(2, tall - 1), 0);
    long r3 = matrix.offset(row + tall - 1, 0);
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

  /** Sums the lanes of some vectors, in the same order for every run. */
  private static void sumLanes(float[] lanes, int from, int vectors, float[] out, int at) {
    for (int i = 0; i < vectors; i++) {
      float sum = 0;
      for (int lane = from + i * LENGTH; lane < from + (i + 1) * LENGTH; lane += 4) {
        sum += (lanes[lane] + lanes[lane + 1]) + (lanes[lane + 2] + lanes[lane + 3]);
      }
      out[at + i] = sum;
    }
  }
}
