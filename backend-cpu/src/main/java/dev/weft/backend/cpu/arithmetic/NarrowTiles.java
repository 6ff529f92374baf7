package dev.weft.backend.cpu.arithmetic;

import static dev.weft.backend.cpu.arithmetic.Arithmetic.LANES;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * The tiles of {@link RowTiles} and {@link ColumnTiles} for machines with 16 vector registers:
 * small enough that accumulators stay in them. The sums are the same, bit for bit.
 */
final class NarrowTiles {
  private static final VectorSpecies<Float> SPECIES = FloatVector.SPECIES_PREFERRED;
  private static final int LENGTH = SPECIES.length();

  private NarrowTiles() {}

  /** A by rows: 6 rows, 2 vectors. */
  static void rows6x2(
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
    int a0 = aAt;
    int a1 = aAt + Math.min(1, rows - 1) * aPitch;
    int a2 = aAt + Math.min(2, rows - 1) * aPitch;
    int a3 = aAt + Math.min(3, rows - 1) * aPitch;
    int a4 = aAt + Math.min(4, rows - 1) * aPitch;
    int a5 = aAt + Math.min(5, rows - 1) * aPitch;
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
  }

  /** A by columns: 4 rows, 2 vectors. */
  static void columns4x2(
      int rows, int depth, float[] a, int aAt, int aPitch, float[] b, int bAt, float[] c, int cAt) {
    FloatVector c0x0 = FloatVector.zero(SPECIES);
    FloatVector c0x1 = FloatVector.zero(SPECIES);
    FloatVector c1x0 = FloatVector.zero(SPECIES);
    FloatVector c1x1 = FloatVector.zero(SPECIES);
    FloatVector c2x0 = FloatVector.zero(SPECIES);
    FloatVector c2x1 = FloatVector.zero(SPECIES);
    FloatVector c3x0 = FloatVector.zero(SPECIES);
    FloatVector c3x1 = FloatVector.zero(SPECIES);
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
  }
}
