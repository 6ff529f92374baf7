package dev.weft.backend.cpu.arithmetic;

import dev.weft.DataType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Dot products of matrix rows in memory with one to a few dense rows, the dimension that is summed
 * over along the vectors: nothing is packed, and the matrix is read once, four rows side by side.
 * F32 and BF16 rows meet a single dense row straight from memory, widened in registers; else four
 * rows are widened into the first-level cache and meet all dense rows there.
 */
final class DotTiles {
  private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
  private static final VectorSpecies<Integer> INTS =
      VectorSpecies.of(int.class, FLOATS.vectorShape());
  private static final VectorSpecies<Short> SHORTS =
      VectorSpecies.of(short.class, VectorShape.forBitSize(FLOATS.vectorBitSize() / 2));
  private static final int LENGTH = FLOATS.length();
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  /** Matrix rows side by side. */
  private static final int ROWS = 4;

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
    MemorySegment memory = matrix.segment();
    for (int r = 0; r < rows; r += ROWS) {
      int tall = Math.min(ROWS, rows - r);
      long r0 = matrix.offset(firstRow + r, 0);
      if (tall == ROWS && count == 1 && matrix.type() != DataType.F16) {
        long r1 = matrix.offset(firstRow + r + 1, 0);
        long r2 = matrix.offset(firstRow + r + 2, 0);
        long r3 = matrix.offset(firstRow + r + 3, 0);
        if (matrix.type() == DataType.F32) {
          float32(memory, r0, r1, r2, r3, x, whole, scratch);
        } else {
          bfloat16(memory, r0, r1, r2, r3, x, whole, scratch);
        }
        sumLanes(scratch, 0, out, outAt + r);
        for (int k = whole; k < depth; k++) {
          for (int i = 0; i < ROWS; i++) {
            float w = element(matrix, firstRow + r + i, k);
            out[outAt + r + i] = Math.fma(w, x[k], out[outAt + r + i]);
          }
        }
        continue;
      }
      for (int i = 0; i < tall; i++) {
        long offset = matrix.offset(firstRow + r + i, 0);
        arithmetic.read(matrix.type(), memory, offset, scratch, i * depth, depth);
      }
      int n = 0;
      for (; tall == ROWS && n <= count - 2; n += 2) {
        two(scratch, depth, x, n * xPitch, xPitch, whole, ROWS * depth);
        sumLanes(scratch, ROWS * depth, out, outAt + n * outPitch + r);
        sumLanes(scratch, ROWS * depth + ROWS * LENGTH, out, outAt + (n + 1) * outPitch + r);
      }
      for (; n < count; n++) {
        for (int i = 0; i < tall; i++) {
          out[outAt + n * outPitch + r + i] =
              arithmetic.dot(scratch, i * depth, x, n * xPitch, whole);
        }
      }
      for (n = 0; n < count; n++) {
        for (int i = 0; i < tall; i++) {
          int at = outAt + n * outPitch + r + i;
          for (int k = whole; k < depth; k++) {
            out[at] = Math.fma(scratch[i * depth + k], x[n * xPitch + k], out[at]);
          }
        }
      }
    }
  }

  private static float element(MatrixRows matrix, int row, int column) {
    return (float)
        matrix.type().get(matrix.segment(), matrix.offset(row, column) / matrix.type().bytes());
  }

  /** Four F32 rows in memory, one dense row; leaves the vectors of sums. */
  private static void float32(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int depth,
      float[] lanes) {
    FloatVector s0 = FloatVector.zero(FLOATS);
    FloatVector s1 = FloatVector.zero(FLOATS);
    FloatVector s2 = FloatVector.zero(FLOATS);
    FloatVector s3 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      FloatVector v = FloatVector.fromArray(FLOATS, x, k);
      long bytes = 4L * k;
      s0 = v.fma(FloatVector.fromMemorySegment(FLOATS, memory, r0 + bytes, ORDER), s0);
      s1 = v.fma(FloatVector.fromMemorySegment(FLOATS, memory, r1 + bytes, ORDER), s1);
      s2 = v.fma(FloatVector.fromMemorySegment(FLOATS, memory, r2 + bytes, ORDER), s2);
      s3 = v.fma(FloatVector.fromMemorySegment(FLOATS, memory, r3 + bytes, ORDER), s3);
    }
    s0.intoArray(lanes, 0);
    s1.intoArray(lanes, LENGTH);
    s2.intoArray(lanes, 2 * LENGTH);
    s3.intoArray(lanes, 3 * LENGTH);
  }

  /** Four BF16 rows in memory, one dense row; leaves the vectors of sums. */
  private static void bfloat16(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int depth,
      float[] lanes) {
    FloatVector s0 = FloatVector.zero(FLOATS);
    FloatVector s1 = FloatVector.zero(FLOATS);
    FloatVector s2 = FloatVector.zero(FLOATS);
    FloatVector s3 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      FloatVector v = FloatVector.fromArray(FLOATS, x, k);
      long bytes = 2L * k;
      s0 = v.fma(widened(ShortVector.fromMemorySegment(SHORTS, memory, r0 + bytes, ORDER)), s0);
      s1 = v.fma(widened(ShortVector.fromMemorySegment(SHORTS, memory, r1 + bytes, ORDER)), s1);
      s2 = v.fma(widened(ShortVector.fromMemorySegment(SHORTS, memory, r2 + bytes, ORDER)), s2);
      s3 = v.fma(widened(ShortVector.fromMemorySegment(SHORTS, memory, r3 + bytes, ORDER)), s3);
    }
    s0.intoArray(lanes, 0);
    s1.intoArray(lanes, LENGTH);
    s2.intoArray(lanes, 2 * LENGTH);
    s3.intoArray(lanes, 3 * LENGTH);
  }

  private static FloatVector widened(ShortVector bits) {
    IntVector wide = (IntVector) bits.convertShape(VectorOperators.S2I, INTS, 0);
    return wide.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
  }

  /** Four rows of an array, two dense rows; the vectors of sums go behind the rows. */
  private static void two(
      float[] w, int wPitch, float[] x, int xAt, int xPitch, int depth, int lanes) {
    int x0 = xAt;
    int x1 = x0 + xPitch;
    FloatVector s00 = FloatVector.zero(FLOATS);
    FloatVector s01 = FloatVector.zero(FLOATS);
    FloatVector s02 = FloatVector.zero(FLOATS);
    FloatVector s03 = FloatVector.zero(FLOATS);
    FloatVector s10 = FloatVector.zero(FLOATS);
    FloatVector s11 = FloatVector.zero(FLOATS);
    FloatVector s12 = FloatVector.zero(FLOATS);
    FloatVector s13 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      FloatVector w0 = FloatVector.fromArray(FLOATS, w, k);
      FloatVector w1 = FloatVector.fromArray(FLOATS, w, wPitch + k);
      FloatVector w2 = FloatVector.fromArray(FLOATS, w, 2 * wPitch + k);
      FloatVector w3 = FloatVector.fromArray(FLOATS, w, 3 * wPitch + k);
      FloatVector v0 = FloatVector.fromArray(FLOATS, x, x0 + k);
      FloatVector v1 = FloatVector.fromArray(FLOATS, x, x1 + k);
      s00 = w0.fma(v0, s00);
      s01 = w1.fma(v0, s01);
      s02 = w2.fma(v0, s02);
      s03 = w3.fma(v0, s03);
      s10 = w0.fma(v1, s10);
      s11 = w1.fma(v1, s11);
      s12 = w2.fma(v1, s12);
      s13 = w3.fma(v1, s13);
    }
    s00.intoArray(w, lanes);
    s01.intoArray(w, lanes + LENGTH);
    s02.intoArray(w, lanes + 2 * LENGTH);
    s03.intoArray(w, lanes + 3 * LENGTH);
    s10.intoArray(w, lanes + 4 * LENGTH);
    s11.intoArray(w, lanes + 5 * LENGTH);
    s12.intoArray(w, lanes + 6 * LENGTH);
    s13.intoArray(w, lanes + 7 * LENGTH);
  }

  /** Sums the lanes of four vectors, in the same order for every run. */
  private static void sumLanes(float[] lanes, int from, float[] out, int at) {
    for (int i = 0; i < ROWS; i++) {
      float sum = 0;
      for (int lane = from + i * LENGTH; lane < from + (i + 1) * LENGTH; lane += 4) {
        sum += (lanes[lane] + lanes[lane + 1]) + (lanes[lane + 2] + lanes[lane + 3]);
      }
      out[at + i] = sum;
    }
  }
}
