package dev.weft.backend.cpu.arithmetic;

import static dev.weft.backend.cpu.arithmetic.Arithmetic.LANES;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * The register tiles of {@link Arithmetic#multiplyRows}: some rows of A, each of whose elements is
 * broadcast, times some vectors of a panel's row, into accumulators that stay in registers over the
 * whole depth.
 *
 * <p>The shapes were chosen by measuring what C2 makes of them (AVX-512, fractions of the
 * multiply-add rate on Sapphire Rapids and Zen 4): 4x4 0.92 and 0.98, 8x2 0.91 and 0.93, 4x3 0.88
 * and 0.96. More rows need more row pointers than there are scalar registers: 6x4 reached 0.74, 8x3
 * 0.73. A single vector is bound by the broadcasts, at 0.5.
 *
 * <p>Written out, since C2 keeps vectors in registers only as local variables. No part of a loop
 * body is a method of its own: beyond a certain size C2 inlines no more of them, and each vector
 * becomes an object. Where fewer rows are left than a tile has, the last is computed again and not
 * stored.
 */
final class RowTiles {
  private static final VectorSpecies<Float> SPECIES = FloatVector.SPECIES_PREFERRED;
  private static final int LENGTH = SPECIES.length();

  private RowTiles() {}

  /** 4 rows, 4 vectors. */
  static void rows4x4(
      int rows, int depth, float[] a, int aAt, int aPitch, float[] b, int bAt, float[] c, int cAt) {
    FloatVector c0x0 = FloatVector.zero(SPECIES);
    FloatVector c0x1 = FloatVector.zero(SPECIES);
    FloatVector c0x2 = FloatVector.zero(SPECIES);
    FloatVector c0x3 = FloatVector.zero(SPECIES);
    FloatVector c1x0 = FloatVector.zero(SPECIES);
    FloatVector c1x1 = FloatVector.zero(SPECIES);
    FloatVector c1x2 = FloatVector.zero(SPECIES);
    FloatVector c1x3 = FloatVector.zero(SPECIES);
    FloatVector c2x0 = FloatVector.zero(SPECIES);
    FloatVector c2x1 = FloatVector.zero(SPECIES);
    FloatVector c2x2 = FloatVector.zero(SPECIES);
    FloatVector c2x3 = FloatVector.zero(SPECIES);
    FloatVector c3x0 = FloatVector.zero(SPECIES);
    FloatVector c3x1 = FloatVector.zero(SPECIES);
    FloatVector c3x2 = FloatVector.zero(SPECIES);
    FloatVector c3x3 = FloatVector.zero(SPECIES);
    int a0 = aAt;
    int a1 = aAt + Math.min(1, rows - 1) * aPitch;
    int a2 = aAt + Math.min(2, rows - 1) * aPitch;
    int a3 = aAt + Math.min(3, rows - 1) * aPitch;
    for (int k = 0; k < depth; k++) {
      int bk = bAt + k * LANES;
      FloatVector b0 = FloatVector.fromArray(SPECIES, b, bk);
      FloatVector b1 = FloatVector.fromArray(SPECIES, b, bk + LENGTH);
      FloatVector b2 = FloatVector.fromArray(SPECIES, b, bk + 2 * LENGTH);
      FloatVector b3 = FloatVector.fromArray(SPECIES, b, bk + 3 * LENGTH);
      FloatVector v0 = FloatVector.broadcast(SPECIES, a[a0 + k]);
      c0x0 = v0.fma(b0, c0x0);
      c0x1 = v0.fma(b1, c0x1);
      c0x2 = v0.fma(b2, c0x2);
      c0x3 = v0.fma(b3, c0x3);
      FloatVector v1 = FloatVector.broadcast(SPECIES, a[a1 + k]);
      c1x0 = v1.fma(b0, c1x0);
      c1x1 = v1.fma(b1, c1x1);
      c1x2 = v1.fma(b2, c1x2);
      c1x3 = v1.fma(b3, c1x3);
      FloatVector v2 = FloatVector.broadcast(SPECIES, a[a2 + k]);
      c2x0 = v2.fma(b0, c2x0);
      c2x1 = v2.fma(b1, c2x1);
      c2x2 = v2.fma(b2, c2x2);
      c2x3 = v2.fma(b3, c2x3);
      FloatVector v3 = FloatVector.broadcast(SPECIES, a[a3 + k]);
      c3x0 = v3.fma(b0, c3x0);
      c3x1 = v3.fma(b1, c3x1);
      c3x2 = v3.fma(b2, c3x2);
      c3x3 = v3.fma(b3, c3x3);
    }
    int at = cAt;
    c0x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c0x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    c0x2.add(FloatVector.fromArray(SPECIES, c, at + 2 * LENGTH)).intoArray(c, at + 2 * LENGTH);
    c0x3.add(FloatVector.fromArray(SPECIES, c, at + 3 * LENGTH)).intoArray(c, at + 3 * LENGTH);
    if (rows == 1) {
      return;
    }
    at += LANES;
    c1x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c1x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    c1x2.add(FloatVector.fromArray(SPECIES, c, at + 2 * LENGTH)).intoArray(c, at + 2 * LENGTH);
    c1x3.add(FloatVector.fromArray(SPECIES, c, at + 3 * LENGTH)).intoArray(c, at + 3 * LENGTH);
    if (rows == 2) {
      return;
    }
    at += LANES;
    c2x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c2x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    c2x2.add(FloatVector.fromArray(SPECIES, c, at + 2 * LENGTH)).intoArray(c, at + 2 * LENGTH);
    c2x3.add(FloatVector.fromArray(SPECIES, c, at + 3 * LENGTH)).intoArray(c, at + 3 * LENGTH);
    if (rows == 3) {
      return;
    }
    at += LANES;
    c3x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c3x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    c3x2.add(FloatVector.fromArray(SPECIES, c, at + 2 * LENGTH)).intoArray(c, at + 2 * LENGTH);
    c3x3.add(FloatVector.fromArray(SPECIES, c, at + 3 * LENGTH)).intoArray(c, at + 3 * LENGTH);
  }

  /** 4 rows, 3 vectors; fits 16 registers. */
  static void rows4x3(
      int rows, int depth, float[] a, int aAt, int aPitch, float[] b, int bAt, float[] c, int cAt) {
    FloatVector c0x0 = FloatVector.zero(SPECIES);
    FloatVector c0x1 = FloatVector.zero(SPECIES);
    FloatVector c0x2 = FloatVector.zero(SPECIES);
    FloatVector c1x0 = FloatVector.zero(SPECIES);
    FloatVector c1x1 = FloatVector.zero(SPECIES);
    FloatVector c1x2 = FloatVector.zero(SPECIES);
    FloatVector c2x0 = FloatVector.zero(SPECIES);
    FloatVector c2x1 = FloatVector.zero(SPECIES);
    FloatVector c2x2 = FloatVector.zero(SPECIES);
    FloatVector c3x0 = FloatVector.zero(SPECIES);
    FloatVector c3x1 = FloatVector.zero(SPECIES);
    FloatVector c3x2 = FloatVector.zero(SPECIES);
    int a0 = aAt;
    int a1 = aAt + Math.min(1, rows - 1) * aPitch;
    int a2 = aAt + Math.min(2, rows - 1) * aPitch;
    int a3 = aAt + Math.min(3, rows - 1) * aPitch;
    for (int k = 0; k < depth; k++) {
      int bk = bAt + k * LANES;
      FloatVector b0 = FloatVector.fromArray(SPECIES, b, bk);
      FloatVector b1 = FloatVector.fromArray(SPECIES, b, bk + LENGTH);
      FloatVector b2 = FloatVector.fromArray(SPECIES, b, bk + 2 * LENGTH);
      FloatVector v0 = FloatVector.broadcast(SPECIES, a[a0 + k]);
      c0x0 = v0.fma(b0, c0x0);
      c0x1 = v0.fma(b1, c0x1);
      c0x2 = v0.fma(b2, c0x2);
      FloatVector v1 = FloatVector.broadcast(SPECIES, a[a1 + k]);
      c1x0 = v1.fma(b0, c1x0);
      c1x1 = v1.fma(b1, c1x1);
      c1x2 = v1.fma(b2, c1x2);
      FloatVector v2 = FloatVector.broadcast(SPECIES, a[a2 + k]);
      c2x0 = v2.fma(b0, c2x0);
      c2x1 = v2.fma(b1, c2x1);
      c2x2 = v2.fma(b2, c2x2);
      FloatVector v3 = FloatVector.broadcast(SPECIES, a[a3 + k]);
      c3x0 = v3.fma(b0, c3x0);
      c3x1 = v3.fma(b1, c3x1);
      c3x2 = v3.fma(b2, c3x2);
    }
    int at = cAt;
    c0x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c0x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    c0x2.add(FloatVector.fromArray(SPECIES, c, at + 2 * LENGTH)).intoArray(c, at + 2 * LENGTH);
    if (rows == 1) {
      return;
    }
    at += LANES;
    c1x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c1x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    c1x2.add(FloatVector.fromArray(SPECIES, c, at + 2 * LENGTH)).intoArray(c, at + 2 * LENGTH);
    if (rows == 2) {
      return;
    }
    at += LANES;
    c2x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c2x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    c2x2.add(FloatVector.fromArray(SPECIES, c, at + 2 * LENGTH)).intoArray(c, at + 2 * LENGTH);
    if (rows == 3) {
      return;
    }
    at += LANES;
    c3x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c3x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    c3x2.add(FloatVector.fromArray(SPECIES, c, at + 2 * LENGTH)).intoArray(c, at + 2 * LENGTH);
  }

  /** 8 rows, 2 vectors. */
  static void rows8x2(
      int rows, int depth, float[] a, int aAt, int aPitch, float[] b, int bAt, float[] c, int cAt) {
    FloatVector c0x0 = FloatVector.zero(SPECIES);
    FloatVector c0x1 = FloatVector.zero(SPECIES);
    FloatVector c1x0 = FloatVector.zero(SPECIES);
    FloatVector c1x1 = FloatVector.zero(SPECIES);
    FloatVector c2x0 = FloatVector.zero(SPECIES);
    FloatVector c2x1 = FloatVector.zero(SPECIES);
    FloatVector c3x0 = FloatVector.zero(SPECIES);
    FloatVector c3x1 = FloatVector.zero(SPECIES);
    FloatVector c4x0 = FloatVector.zero(SPECIES);
    FloatVector c4x1 = FloatVector.zero(SPECIES);
    FloatVector c5x0 = FloatVector.zero(SPECIES);
    FloatVector c5x1 = FloatVector.zero(SPECIES);
    FloatVector c6x0 = FloatVector.zero(SPECIES);
    FloatVector c6x1 = FloatVector.zero(SPECIES);
    FloatVector c7x0 = FloatVector.zero(SPECIES);
    FloatVector c7x1 = FloatVector.zero(SPECIES);
    int a0 = aAt;
    int a1 = aAt + Math.min(1, rows - 1) * aPitch;
    int a2 = aAt + Math.min(2, rows - 1) * aPitch;
    int a3 = aAt + Math.min(3, rows - 1) * aPitch;
    int a4 = aAt + Math.min(4, rows - 1) * aPitch;
    int a5 = aAt + Math.min(5, rows - 1) * aPitch;
    int a6 = aAt + Math.min(6, rows - 1) * aPitch;
    int a7 = aAt + Math.min(7, rows - 1) * aPitch;
    for (int k = 0; k < depth; k++) {
      int bk = bAt + k * LANES;
      FloatVector b0 = FloatVector.fromArray(SPECIES, b, bk);
      FloatVector b1 = FloatVector.fromArray(SPECIES, b, bk + LENGTH);
      FloatVector v0 = FloatVector.broadcast(SPECIES, a[a0 + k]);
      c0x0 = v0.fma(b0, c0x0);
      c0x1 = v0.fma(b1, c0x1);
      FloatVector v1 = FloatVector.broadcast(SPECIES, a[a1 + k]);
      c1x0 = v1.fma(b0, c1x0);
      c1x1 = v1.fma(b1, c1x1);
      FloatVector v2 = FloatVector.broadcast(SPECIES, a[a2 + k]);
      c2x0 = v2.fma(b0, c2x0);
      c2x1 = v2.fma(b1, c2x1);
      FloatVector v3 = FloatVector.broadcast(SPECIES, a[a3 + k]);
      c3x0 = v3.fma(b0, c3x0);
      c3x1 = v3.fma(b1, c3x1);
      FloatVector v4 = FloatVector.broadcast(SPECIES, a[a4 + k]);
      c4x0 = v4.fma(b0, c4x0);
      c4x1 = v4.fma(b1, c4x1);
      FloatVector v5 = FloatVector.broadcast(SPECIES, a[a5 + k]);
      c5x0 = v5.fma(b0, c5x0);
      c5x1 = v5.fma(b1, c5x1);
      FloatVector v6 = FloatVector.broadcast(SPECIES, a[a6 + k]);
      c6x0 = v6.fma(b0, c6x0);
      c6x1 = v6.fma(b1, c6x1);
      FloatVector v7 = FloatVector.broadcast(SPECIES, a[a7 + k]);
      c7x0 = v7.fma(b0, c7x0);
      c7x1 = v7.fma(b1, c7x1);
    }
    int at = cAt;
    c0x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c0x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 1) {
      return;
    }
    at += LANES;
    c1x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c1x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 2) {
      return;
    }
    at += LANES;
    c2x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c2x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 3) {
      return;
    }
    at += LANES;
    c3x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c3x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 4) {
      return;
    }
    at += LANES;
    c4x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c4x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 5) {
      return;
    }
    at += LANES;
    c5x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c5x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 6) {
      return;
    }
    at += LANES;
    c6x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c6x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 7) {
      return;
    }
    at += LANES;
    c7x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c7x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
  }

  /** 12 rows, 1 vector. */
  static void rows12x1(
      int rows, int depth, float[] a, int aAt, int aPitch, float[] b, int bAt, float[] c, int cAt) {
    FloatVector c0x0 = FloatVector.zero(SPECIES);
    FloatVector c1x0 = FloatVector.zero(SPECIES);
    FloatVector c2x0 = FloatVector.zero(SPECIES);
    FloatVector c3x0 = FloatVector.zero(SPECIES);
    FloatVector c4x0 = FloatVector.zero(SPECIES);
    FloatVector c5x0 = FloatVector.zero(SPECIES);
    FloatVector c6x0 = FloatVector.zero(SPECIES);
    FloatVector c7x0 = FloatVector.zero(SPECIES);
    FloatVector c8x0 = FloatVector.zero(SPECIES);
    FloatVector c9x0 = FloatVector.zero(SPECIES);
    FloatVector c10x0 = FloatVector.zero(SPECIES);
    FloatVector c11x0 = FloatVector.zero(SPECIES);
    int a0 = aAt;
    int a1 = aAt + Math.min(1, rows - 1) * aPitch;
    int a2 = aAt + Math.min(2, rows - 1) * aPitch;
    int a3 = aAt + Math.min(3, rows - 1) * aPitch;
    int a4 = aAt + Math.min(4, rows - 1) * aPitch;
    int a5 = aAt + Math.min(5, rows - 1) * aPitch;
    int a6 = aAt + Math.min(6, rows - 1) * aPitch;
    int a7 = aAt + Math.min(7, rows - 1) * aPitch;
    int a8 = aAt + Math.min(8, rows - 1) * aPitch;
    int a9 = aAt + Math.min(9, rows - 1) * aPitch;
    int a10 = aAt + Math.min(10, rows - 1) * aPitch;
    int a11 = aAt + Math.min(11, rows - 1) * aPitch;
    for (int k = 0; k < depth; k++) {
      int bk = bAt + k * LANES;
      FloatVector b0 = FloatVector.fromArray(SPECIES, b, bk);
      FloatVector v0 = FloatVector.broadcast(SPECIES, a[a0 + k]);
      c0x0 = v0.fma(b0, c0x0);
      FloatVector v1 = FloatVector.broadcast(SPECIES, a[a1 + k]);
      c1x0 = v1.fma(b0, c1x0);
      FloatVector v2 = FloatVector.broadcast(SPECIES, a[a2 + k]);
      c2x0 = v2.fma(b0, c2x0);
      FloatVector v3 = FloatVector.broadcast(SPECIES, a[a3 + k]);
      c3x0 = v3.fma(b0, c3x0);
      FloatVector v4 = FloatVector.broadcast(SPECIES, a[a4 + k]);
      c4x0 = v4.fma(b0, c4x0);
      FloatVector v5 = FloatVector.broadcast(SPECIES, a[a5 + k]);
      c5x0 = v5.fma(b0, c5x0);
      FloatVector v6 = FloatVector.broadcast(SPECIES, a[a6 + k]);
      c6x0 = v6.fma(b0, c6x0);
      FloatVector v7 = FloatVector.broadcast(SPECIES, a[a7 + k]);
      c7x0 = v7.fma(b0, c7x0);
      FloatVector v8 = FloatVector.broadcast(SPECIES, a[a8 + k]);
      c8x0 = v8.fma(b0, c8x0);
      FloatVector v9 = FloatVector.broadcast(SPECIES, a[a9 + k]);
      c9x0 = v9.fma(b0, c9x0);
      FloatVector v10 = FloatVector.broadcast(SPECIES, a[a10 + k]);
      c10x0 = v10.fma(b0, c10x0);
      FloatVector v11 = FloatVector.broadcast(SPECIES, a[a11 + k]);
      c11x0 = v11.fma(b0, c11x0);
    }
    int at = cAt;
    c0x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 1) {
      return;
    }
    at += LANES;
    c1x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 2) {
      return;
    }
    at += LANES;
    c2x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 3) {
      return;
    }
    at += LANES;
    c3x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 4) {
      return;
    }
    at += LANES;
    c4x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 5) {
      return;
    }
    at += LANES;
    c5x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 6) {
      return;
    }
    at += LANES;
    c6x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 7) {
      return;
    }
    at += LANES;
    c7x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 8) {
      return;
    }
    at += LANES;
    c8x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 9) {
      return;
    }
    at += LANES;
    c9x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 10) {
      return;
    }
    at += LANES;
    c10x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 11) {
      return;
    }
    at += LANES;
    c11x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
  }
}
