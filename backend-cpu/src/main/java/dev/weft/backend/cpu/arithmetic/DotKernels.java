package dev.weft.backend.cpu.arithmetic;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * Four rows in memory, met by one to four dense rows while they stream past: each leaves its vector
 * of sums, those of a dense row together. Written out, since C2 keeps sums in registers only where
 * each is a variable.
 */
final class DotKernels {
  private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
  private static final int LENGTH = FLOATS.length();
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  private DotKernels() {}

  /** Four F32 rows, 1 dense row. */
  static void float32x1(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int x0,
      int depth,
      float[] lanes) {
    FloatVector s00 = FloatVector.zero(FLOATS);
    FloatVector s01 = FloatVector.zero(FLOATS);
    FloatVector s02 = FloatVector.zero(FLOATS);
    FloatVector s03 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      long at = 4L * k;
      FloatVector w0 = FloatVector.fromMemorySegment(FLOATS, memory, r0 + at, ORDER);
      FloatVector w1 = FloatVector.fromMemorySegment(FLOATS, memory, r1 + at, ORDER);
      FloatVector w2 = FloatVector.fromMemorySegment(FLOATS, memory, r2 + at, ORDER);
      FloatVector w3 = FloatVector.fromMemorySegment(FLOATS, memory, r3 + at, ORDER);
      FloatVector v0 = FloatVector.fromArray(FLOATS, x, x0 + k);
      s00 = w0.fma(v0, s00);
      s01 = w1.fma(v0, s01);
      s02 = w2.fma(v0, s02);
      s03 = w3.fma(v0, s03);
    }
    s00.intoArray(lanes, 0);
    s01.intoArray(lanes, LENGTH);
    s02.intoArray(lanes, 2 * LENGTH);
    s03.intoArray(lanes, 3 * LENGTH);
  }

  /** Four F32 rows, 2 dense rows. */
  static void float32x2(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int x0,
      int pitch,
      int depth,
      float[] lanes) {
    int x1 = x0 + pitch;
    FloatVector s00 = FloatVector.zero(FLOATS);
    FloatVector s01 = FloatVector.zero(FLOATS);
    FloatVector s02 = FloatVector.zero(FLOATS);
    FloatVector s03 = FloatVector.zero(FLOATS);
    FloatVector s10 = FloatVector.zero(FLOATS);
    FloatVector s11 = FloatVector.zero(FLOATS);
    FloatVector s12 = FloatVector.zero(FLOATS);
    FloatVector s13 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      long at = 4L * k;
      FloatVector w0 = FloatVector.fromMemorySegment(FLOATS, memory, r0 + at, ORDER);
      FloatVector w1 = FloatVector.fromMemorySegment(FLOATS, memory, r1 + at, ORDER);
      FloatVector w2 = FloatVector.fromMemorySegment(FLOATS, memory, r2 + at, ORDER);
      FloatVector w3 = FloatVector.fromMemorySegment(FLOATS, memory, r3 + at, ORDER);
      FloatVector v0 = FloatVector.fromArray(FLOATS, x, x0 + k);
      s00 = w0.fma(v0, s00);
      s01 = w1.fma(v0, s01);
      s02 = w2.fma(v0, s02);
      s03 = w3.fma(v0, s03);
      FloatVector v1 = FloatVector.fromArray(FLOATS, x, x1 + k);
      s10 = w0.fma(v1, s10);
      s11 = w1.fma(v1, s11);
      s12 = w2.fma(v1, s12);
      s13 = w3.fma(v1, s13);
    }
    s00.intoArray(lanes, 0);
    s01.intoArray(lanes, LENGTH);
    s02.intoArray(lanes, 2 * LENGTH);
    s03.intoArray(lanes, 3 * LENGTH);
    s10.intoArray(lanes, 4 * LENGTH);
    s11.intoArray(lanes, 5 * LENGTH);
    s12.intoArray(lanes, 6 * LENGTH);
    s13.intoArray(lanes, 7 * LENGTH);
  }

  /** Four F32 rows, 3 dense rows. */
  static void float32x3(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int x0,
      int pitch,
      int depth,
      float[] lanes) {
    int x1 = x0 + pitch;
    int x2 = x1 + pitch;
    FloatVector s00 = FloatVector.zero(FLOATS);
    FloatVector s01 = FloatVector.zero(FLOATS);
    FloatVector s02 = FloatVector.zero(FLOATS);
    FloatVector s03 = FloatVector.zero(FLOATS);
    FloatVector s10 = FloatVector.zero(FLOATS);
    FloatVector s11 = FloatVector.zero(FLOATS);
    FloatVector s12 = FloatVector.zero(FLOATS);
    FloatVector s13 = FloatVector.zero(FLOATS);
    FloatVector s20 = FloatVector.zero(FLOATS);
    FloatVector s21 = FloatVector.zero(FLOATS);
    FloatVector s22 = FloatVector.zero(FLOATS);
    FloatVector s23 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      long at = 4L * k;
      FloatVector w0 = FloatVector.fromMemorySegment(FLOATS, memory, r0 + at, ORDER);
      FloatVector w1 = FloatVector.fromMemorySegment(FLOATS, memory, r1 + at, ORDER);
      FloatVector w2 = FloatVector.fromMemorySegment(FLOATS, memory, r2 + at, ORDER);
      FloatVector w3 = FloatVector.fromMemorySegment(FLOATS, memory, r3 + at, ORDER);
      FloatVector v0 = FloatVector.fromArray(FLOATS, x, x0 + k);
      s00 = w0.fma(v0, s00);
      s01 = w1.fma(v0, s01);
      s02 = w2.fma(v0, s02);
      s03 = w3.fma(v0, s03);
      FloatVector v1 = FloatVector.fromArray(FLOATS, x, x1 + k);
      s10 = w0.fma(v1, s10);
      s11 = w1.fma(v1, s11);
      s12 = w2.fma(v1, s12);
      s13 = w3.fma(v1, s13);
      FloatVector v2 = FloatVector.fromArray(FLOATS, x, x2 + k);
      s20 = w0.fma(v2, s20);
      s21 = w1.fma(v2, s21);
      s22 = w2.fma(v2, s22);
      s23 = w3.fma(v2, s23);
    }
    s00.intoArray(lanes, 0);
    s01.intoArray(lanes, LENGTH);
    s02.intoArray(lanes, 2 * LENGTH);
    s03.intoArray(lanes, 3 * LENGTH);
    s10.intoArray(lanes, 4 * LENGTH);
    s11.intoArray(lanes, 5 * LENGTH);
    s12.intoArray(lanes, 6 * LENGTH);
    s13.intoArray(lanes, 7 * LENGTH);
    s20.intoArray(lanes, 8 * LENGTH);
    s21.intoArray(lanes, 9 * LENGTH);
    s22.intoArray(lanes, 10 * LENGTH);
    s23.intoArray(lanes, 11 * LENGTH);
  }

  /** Four F32 rows, 4 dense rows. */
  static void float32x4(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int x0,
      int pitch,
      int depth,
      float[] lanes) {
    int x1 = x0 + pitch;
    int x2 = x1 + pitch;
    int x3 = x2 + pitch;
    FloatVector s00 = FloatVector.zero(FLOATS);
    FloatVector s01 = FloatVector.zero(FLOATS);
    FloatVector s02 = FloatVector.zero(FLOATS);
    FloatVector s03 = FloatVector.zero(FLOATS);
    FloatVector s10 = FloatVector.zero(FLOATS);
    FloatVector s11 = FloatVector.zero(FLOATS);
    FloatVector s12 = FloatVector.zero(FLOATS);
    FloatVector s13 = FloatVector.zero(FLOATS);
    FloatVector s20 = FloatVector.zero(FLOATS);
    FloatVector s21 = FloatVector.zero(FLOATS);
    FloatVector s22 = FloatVector.zero(FLOATS);
    FloatVector s23 = FloatVector.zero(FLOATS);
    FloatVector s30 = FloatVector.zero(FLOATS);
    FloatVector s31 = FloatVector.zero(FLOATS);
    FloatVector s32 = FloatVector.zero(FLOATS);
    FloatVector s33 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      long at = 4L * k;
      FloatVector w0 = FloatVector.fromMemorySegment(FLOATS, memory, r0 + at, ORDER);
      FloatVector w1 = FloatVector.fromMemorySegment(FLOATS, memory, r1 + at, ORDER);
      FloatVector w2 = FloatVector.fromMemorySegment(FLOATS, memory, r2 + at, ORDER);
      FloatVector w3 = FloatVector.fromMemorySegment(FLOATS, memory, r3 + at, ORDER);
      FloatVector v0 = FloatVector.fromArray(FLOATS, x, x0 + k);
      s00 = w0.fma(v0, s00);
      s01 = w1.fma(v0, s01);
      s02 = w2.fma(v0, s02);
      s03 = w3.fma(v0, s03);
      FloatVector v1 = FloatVector.fromArray(FLOATS, x, x1 + k);
      s10 = w0.fma(v1, s10);
      s11 = w1.fma(v1, s11);
      s12 = w2.fma(v1, s12);
      s13 = w3.fma(v1, s13);
      FloatVector v2 = FloatVector.fromArray(FLOATS, x, x2 + k);
      s20 = w0.fma(v2, s20);
      s21 = w1.fma(v2, s21);
      s22 = w2.fma(v2, s22);
      s23 = w3.fma(v2, s23);
      FloatVector v3 = FloatVector.fromArray(FLOATS, x, x3 + k);
      s30 = w0.fma(v3, s30);
      s31 = w1.fma(v3, s31);
      s32 = w2.fma(v3, s32);
      s33 = w3.fma(v3, s33);
    }
    s00.intoArray(lanes, 0);
    s01.intoArray(lanes, LENGTH);
    s02.intoArray(lanes, 2 * LENGTH);
    s03.intoArray(lanes, 3 * LENGTH);
    s10.intoArray(lanes, 4 * LENGTH);
    s11.intoArray(lanes, 5 * LENGTH);
    s12.intoArray(lanes, 6 * LENGTH);
    s13.intoArray(lanes, 7 * LENGTH);
    s20.intoArray(lanes, 8 * LENGTH);
    s21.intoArray(lanes, 9 * LENGTH);
    s22.intoArray(lanes, 10 * LENGTH);
    s23.intoArray(lanes, 11 * LENGTH);
    s30.intoArray(lanes, 12 * LENGTH);
    s31.intoArray(lanes, 13 * LENGTH);
    s32.intoArray(lanes, 14 * LENGTH);
    s33.intoArray(lanes, 15 * LENGTH);
  }

  /** Four BF16 rows, 1 dense row. */
  static void bfloat16x1(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int x0,
      int depth,
      float[] lanes) {
    FloatVector s00 = FloatVector.zero(FLOATS);
    FloatVector s01 = FloatVector.zero(FLOATS);
    FloatVector s02 = FloatVector.zero(FLOATS);
    FloatVector s03 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      long at = 2L * k;
      FloatVector w0 = VectorStorage.bfloat16(memory, r0 + at);
      FloatVector w1 = VectorStorage.bfloat16(memory, r1 + at);
      FloatVector w2 = VectorStorage.bfloat16(memory, r2 + at);
      FloatVector w3 = VectorStorage.bfloat16(memory, r3 + at);
      FloatVector v0 = FloatVector.fromArray(FLOATS, x, x0 + k);
      s00 = w0.fma(v0, s00);
      s01 = w1.fma(v0, s01);
      s02 = w2.fma(v0, s02);
      s03 = w3.fma(v0, s03);
    }
    s00.intoArray(lanes, 0);
    s01.intoArray(lanes, LENGTH);
    s02.intoArray(lanes, 2 * LENGTH);
    s03.intoArray(lanes, 3 * LENGTH);
  }

  /** Four BF16 rows, 2 dense rows. */
  static void bfloat16x2(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int x0,
      int pitch,
      int depth,
      float[] lanes) {
    int x1 = x0 + pitch;
    FloatVector s00 = FloatVector.zero(FLOATS);
    FloatVector s01 = FloatVector.zero(FLOATS);
    FloatVector s02 = FloatVector.zero(FLOATS);
    FloatVector s03 = FloatVector.zero(FLOATS);
    FloatVector s10 = FloatVector.zero(FLOATS);
    FloatVector s11 = FloatVector.zero(FLOATS);
    FloatVector s12 = FloatVector.zero(FLOATS);
    FloatVector s13 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      long at = 2L * k;
      FloatVector w0 = VectorStorage.bfloat16(memory, r0 + at);
      FloatVector w1 = VectorStorage.bfloat16(memory, r1 + at);
      FloatVector w2 = VectorStorage.bfloat16(memory, r2 + at);
      FloatVector w3 = VectorStorage.bfloat16(memory, r3 + at);
      FloatVector v0 = FloatVector.fromArray(FLOATS, x, x0 + k);
      s00 = w0.fma(v0, s00);
      s01 = w1.fma(v0, s01);
      s02 = w2.fma(v0, s02);
      s03 = w3.fma(v0, s03);
      FloatVector v1 = FloatVector.fromArray(FLOATS, x, x1 + k);
      s10 = w0.fma(v1, s10);
      s11 = w1.fma(v1, s11);
      s12 = w2.fma(v1, s12);
      s13 = w3.fma(v1, s13);
    }
    s00.intoArray(lanes, 0);
    s01.intoArray(lanes, LENGTH);
    s02.intoArray(lanes, 2 * LENGTH);
    s03.intoArray(lanes, 3 * LENGTH);
    s10.intoArray(lanes, 4 * LENGTH);
    s11.intoArray(lanes, 5 * LENGTH);
    s12.intoArray(lanes, 6 * LENGTH);
    s13.intoArray(lanes, 7 * LENGTH);
  }

  /** Four BF16 rows, 3 dense rows. */
  static void bfloat16x3(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int x0,
      int pitch,
      int depth,
      float[] lanes) {
    int x1 = x0 + pitch;
    int x2 = x1 + pitch;
    FloatVector s00 = FloatVector.zero(FLOATS);
    FloatVector s01 = FloatVector.zero(FLOATS);
    FloatVector s02 = FloatVector.zero(FLOATS);
    FloatVector s03 = FloatVector.zero(FLOATS);
    FloatVector s10 = FloatVector.zero(FLOATS);
    FloatVector s11 = FloatVector.zero(FLOATS);
    FloatVector s12 = FloatVector.zero(FLOATS);
    FloatVector s13 = FloatVector.zero(FLOATS);
    FloatVector s20 = FloatVector.zero(FLOATS);
    FloatVector s21 = FloatVector.zero(FLOATS);
    FloatVector s22 = FloatVector.zero(FLOATS);
    FloatVector s23 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      long at = 2L * k;
      FloatVector w0 = VectorStorage.bfloat16(memory, r0 + at);
      FloatVector w1 = VectorStorage.bfloat16(memory, r1 + at);
      FloatVector w2 = VectorStorage.bfloat16(memory, r2 + at);
      FloatVector w3 = VectorStorage.bfloat16(memory, r3 + at);
      FloatVector v0 = FloatVector.fromArray(FLOATS, x, x0 + k);
      s00 = w0.fma(v0, s00);
      s01 = w1.fma(v0, s01);
      s02 = w2.fma(v0, s02);
      s03 = w3.fma(v0, s03);
      FloatVector v1 = FloatVector.fromArray(FLOATS, x, x1 + k);
      s10 = w0.fma(v1, s10);
      s11 = w1.fma(v1, s11);
      s12 = w2.fma(v1, s12);
      s13 = w3.fma(v1, s13);
      FloatVector v2 = FloatVector.fromArray(FLOATS, x, x2 + k);
      s20 = w0.fma(v2, s20);
      s21 = w1.fma(v2, s21);
      s22 = w2.fma(v2, s22);
      s23 = w3.fma(v2, s23);
    }
    s00.intoArray(lanes, 0);
    s01.intoArray(lanes, LENGTH);
    s02.intoArray(lanes, 2 * LENGTH);
    s03.intoArray(lanes, 3 * LENGTH);
    s10.intoArray(lanes, 4 * LENGTH);
    s11.intoArray(lanes, 5 * LENGTH);
    s12.intoArray(lanes, 6 * LENGTH);
    s13.intoArray(lanes, 7 * LENGTH);
    s20.intoArray(lanes, 8 * LENGTH);
    s21.intoArray(lanes, 9 * LENGTH);
    s22.intoArray(lanes, 10 * LENGTH);
    s23.intoArray(lanes, 11 * LENGTH);
  }

  /** Four BF16 rows, 4 dense rows. */
  static void bfloat16x4(
      MemorySegment memory,
      long r0,
      long r1,
      long r2,
      long r3,
      float[] x,
      int x0,
      int pitch,
      int depth,
      float[] lanes) {
    int x1 = x0 + pitch;
    int x2 = x1 + pitch;
    int x3 = x2 + pitch;
    FloatVector s00 = FloatVector.zero(FLOATS);
    FloatVector s01 = FloatVector.zero(FLOATS);
    FloatVector s02 = FloatVector.zero(FLOATS);
    FloatVector s03 = FloatVector.zero(FLOATS);
    FloatVector s10 = FloatVector.zero(FLOATS);
    FloatVector s11 = FloatVector.zero(FLOATS);
    FloatVector s12 = FloatVector.zero(FLOATS);
    FloatVector s13 = FloatVector.zero(FLOATS);
    FloatVector s20 = FloatVector.zero(FLOATS);
    FloatVector s21 = FloatVector.zero(FLOATS);
    FloatVector s22 = FloatVector.zero(FLOATS);
    FloatVector s23 = FloatVector.zero(FLOATS);
    FloatVector s30 = FloatVector.zero(FLOATS);
    FloatVector s31 = FloatVector.zero(FLOATS);
    FloatVector s32 = FloatVector.zero(FLOATS);
    FloatVector s33 = FloatVector.zero(FLOATS);
    for (int k = 0; k < depth; k += LENGTH) {
      long at = 2L * k;
      FloatVector w0 = VectorStorage.bfloat16(memory, r0 + at);
      FloatVector w1 = VectorStorage.bfloat16(memory, r1 + at);
      FloatVector w2 = VectorStorage.bfloat16(memory, r2 + at);
      FloatVector w3 = VectorStorage.bfloat16(memory, r3 + at);
      FloatVector v0 = FloatVector.fromArray(FLOATS, x, x0 + k);
      s00 = w0.fma(v0, s00);
      s01 = w1.fma(v0, s01);
      s02 = w2.fma(v0, s02);
      s03 = w3.fma(v0, s03);
      FloatVector v1 = FloatVector.fromArray(FLOATS, x, x1 + k);
      s10 = w0.fma(v1, s10);
      s11 = w1.fma(v1, s11);
      s12 = w2.fma(v1, s12);
      s13 = w3.fma(v1, s13);
      FloatVector v2 = FloatVector.fromArray(FLOATS, x, x2 + k);
      s20 = w0.fma(v2, s20);
      s21 = w1.fma(v2, s21);
      s22 = w2.fma(v2, s22);
      s23 = w3.fma(v2, s23);
      FloatVector v3 = FloatVector.fromArray(FLOATS, x, x3 + k);
      s30 = w0.fma(v3, s30);
      s31 = w1.fma(v3, s31);
      s32 = w2.fma(v3, s32);
      s33 = w3.fma(v3, s33);
    }
    s00.intoArray(lanes, 0);
    s01.intoArray(lanes, LENGTH);
    s02.intoArray(lanes, 2 * LENGTH);
    s03.intoArray(lanes, 3 * LENGTH);
    s10.intoArray(lanes, 4 * LENGTH);
    s11.intoArray(lanes, 5 * LENGTH);
    s12.intoArray(lanes, 6 * LENGTH);
    s13.intoArray(lanes, 7 * LENGTH);
    s20.intoArray(lanes, 8 * LENGTH);
    s21.intoArray(lanes, 9 * LENGTH);
    s22.intoArray(lanes, 10 * LENGTH);
    s23.intoArray(lanes, 11 * LENGTH);
    s30.intoArray(lanes, 12 * LENGTH);
    s31.intoArray(lanes, 13 * LENGTH);
    s32.intoArray(lanes, 14 * LENGTH);
    s33.intoArray(lanes, 15 * LENGTH);
  }
}
