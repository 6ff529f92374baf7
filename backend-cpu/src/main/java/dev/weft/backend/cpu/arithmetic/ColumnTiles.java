package dev.weft.backend.cpu.arithmetic;

import static dev.weft.backend.cpu.arithmetic.Arithmetic.LANES;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * The register tiles of {@link Arithmetic#multiplyColumns}: as in {@link RowTiles}, but the
 * elements of A that meet one row of the panel lie side by side, so that one pointer serves all
 * rows: tiles may be taller. 12x2 reached 0.90 of the multiply-add rate on Sapphire Rapids and 0.97
 * on Zen 4, 16x1 0.63 and 0.72. (4x4 0.79, 6x4 0.82.)
 *
 * <p>Where fewer rows are left than a tile has, what lies behind them is read and computed with,
 * but not stored.
 */
final class ColumnTiles {
  private static final VectorSpecies<Float> SPECIES = FloatVector.SPECIES_PREFERRED;
  private static final int LENGTH = SPECIES.length();

  private ColumnTiles() {}

  /** 12 rows, 2 vectors. */
  static void columns12x2(
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
    FloatVector c8x0 = FloatVector.zero(SPECIES);
    FloatVector c8x1 = FloatVector.zero(SPECIES);
    FloatVector c9x0 = FloatVector.zero(SPECIES);
    FloatVector c9x1 = FloatVector.zero(SPECIES);
    FloatVector c10x0 = FloatVector.zero(SPECIES);
    FloatVector c10x1 = FloatVector.zero(SPECIES);
    FloatVector c11x0 = FloatVector.zero(SPECIES);
    FloatVector c11x1 = FloatVector.zero(SPECIES);
    for (int k = 0; k < depth; k++) {
      int bk = bAt + k * LANES;
      int ak = aAt + k * aPitch;
      FloatVector b0 = FloatVector.fromArray(SPECIES, b, bk);
      FloatVector b1 = FloatVector.fromArray(SPECIES, b, bk + LENGTH);
      FloatVector v0 = FloatVector.broadcast(SPECIES, a[ak]);
      c0x0 = v0.fma(b0, c0x0);
      c0x1 = v0.fma(b1, c0x1);
      FloatVector v1 = FloatVector.broadcast(SPECIES, a[ak + 1]);
      c1x0 = v1.fma(b0, c1x0);
      c1x1 = v1.fma(b1, c1x1);
      FloatVector v2 = FloatVector.broadcast(SPECIES, a[ak + 2]);
      c2x0 = v2.fma(b0, c2x0);
      c2x1 = v2.fma(b1, c2x1);
      FloatVector v3 = FloatVector.broadcast(SPECIES, a[ak + 3]);
      c3x0 = v3.fma(b0, c3x0);
      c3x1 = v3.fma(b1, c3x1);
      FloatVector v4 = FloatVector.broadcast(SPECIES, a[ak + 4]);
      c4x0 = v4.fma(b0, c4x0);
      c4x1 = v4.fma(b1, c4x1);
      FloatVector v5 = FloatVector.broadcast(SPECIES, a[ak + 5]);
      c5x0 = v5.fma(b0, c5x0);
      c5x1 = v5.fma(b1, c5x1);
      FloatVector v6 = FloatVector.broadcast(SPECIES, a[ak + 6]);
      c6x0 = v6.fma(b0, c6x0);
      c6x1 = v6.fma(b1, c6x1);
      FloatVector v7 = FloatVector.broadcast(SPECIES, a[ak + 7]);
      c7x0 = v7.fma(b0, c7x0);
      c7x1 = v7.fma(b1, c7x1);
      FloatVector v8 = FloatVector.broadcast(SPECIES, a[ak + 8]);
      c8x0 = v8.fma(b0, c8x0);
      c8x1 = v8.fma(b1, c8x1);
      FloatVector v9 = FloatVector.broadcast(SPECIES, a[ak + 9]);
      c9x0 = v9.fma(b0, c9x0);
      c9x1 = v9.fma(b1, c9x1);
      FloatVector v10 = FloatVector.broadcast(SPECIES, a[ak + 10]);
      c10x0 = v10.fma(b0, c10x0);
      c10x1 = v10.fma(b1, c10x1);
      FloatVector v11 = FloatVector.broadcast(SPECIES, a[ak + 11]);
      c11x0 = v11.fma(b0, c11x0);
      c11x1 = v11.fma(b1, c11x1);
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
    if (rows == 8) {
      return;
    }
    at += LANES;
    c8x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c8x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 9) {
      return;
    }
    at += LANES;
    c9x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c9x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 10) {
      return;
    }
    at += LANES;
    c10x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c10x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
    if (rows == 11) {
      return;
    }
    at += LANES;
    c11x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    c11x1.add(FloatVector.fromArray(SPECIES, c, at + LENGTH)).intoArray(c, at + LENGTH);
  }

  /** 16 rows, 1 vector. */
  static void columns16x1(
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
    FloatVector c12x0 = FloatVector.zero(SPECIES);
    FloatVector c13x0 = FloatVector.zero(SPECIES);
    FloatVector c14x0 = FloatVector.zero(SPECIES);
    FloatVector c15x0 = FloatVector.zero(SPECIES);
    for (int k = 0; k < depth; k++) {
      int bk = bAt + k * LANES;
      int ak = aAt + k * aPitch;
      FloatVector b0 = FloatVector.fromArray(SPECIES, b, bk);
      FloatVector v0 = FloatVector.broadcast(SPECIES, a[ak]);
      c0x0 = v0.fma(b0, c0x0);
      FloatVector v1 = FloatVector.broadcast(SPECIES, a[ak + 1]);
      c1x0 = v1.fma(b0, c1x0);
      FloatVector v2 = FloatVector.broadcast(SPECIES, a[ak + 2]);
      c2x0 = v2.fma(b0, c2x0);
      FloatVector v3 = FloatVector.broadcast(SPECIES, a[ak + 3]);
      c3x0 = v3.fma(b0, c3x0);
      FloatVector v4 = FloatVector.broadcast(SPECIES, a[ak + 4]);
      c4x0 = v4.fma(b0, c4x0);
      FloatVector v5 = FloatVector.broadcast(SPECIES, a[ak + 5]);
      c5x0 = v5.fma(b0, c5x0);
      FloatVector v6 = FloatVector.broadcast(SPECIES, a[ak + 6]);
      c6x0 = v6.fma(b0, c6x0);
      FloatVector v7 = FloatVector.broadcast(SPECIES, a[ak + 7]);
      c7x0 = v7.fma(b0, c7x0);
      FloatVector v8 = FloatVector.broadcast(SPECIES, a[ak + 8]);
      c8x0 = v8.fma(b0, c8x0);
      FloatVector v9 = FloatVector.broadcast(SPECIES, a[ak + 9]);
      c9x0 = v9.fma(b0, c9x0);
      FloatVector v10 = FloatVector.broadcast(SPECIES, a[ak + 10]);
      c10x0 = v10.fma(b0, c10x0);
      FloatVector v11 = FloatVector.broadcast(SPECIES, a[ak + 11]);
      c11x0 = v11.fma(b0, c11x0);
      FloatVector v12 = FloatVector.broadcast(SPECIES, a[ak + 12]);
      c12x0 = v12.fma(b0, c12x0);
      FloatVector v13 = FloatVector.broadcast(SPECIES, a[ak + 13]);
      c13x0 = v13.fma(b0, c13x0);
      FloatVector v14 = FloatVector.broadcast(SPECIES, a[ak + 14]);
      c14x0 = v14.fma(b0, c14x0);
      FloatVector v15 = FloatVector.broadcast(SPECIES, a[ak + 15]);
      c15x0 = v15.fma(b0, c15x0);
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
    if (rows == 12) {
      return;
    }
    at += LANES;
    c12x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 13) {
      return;
    }
    at += LANES;
    c13x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 14) {
      return;
    }
    at += LANES;
    c14x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
    if (rows == 15) {
      return;
    }
    at += LANES;
    c15x0.add(FloatVector.fromArray(SPECIES, c, at)).intoArray(c, at);
  }
}
