package dev.weft.backend.cpu.arithmetic;

import dev.weft.DataType;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;
import org.jspecify.annotations.Nullable;

/**
 * Vectors of the machine's preferred length. Sums across a vector are taken in a written order,
 * never by {@code reduceLanes}, whose order may change when a loop gets compiled.
 */
final class VectorArithmetic implements Arithmetic {
  private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
  private static final VectorSpecies<Integer> INTS =
      VectorSpecies.of(int.class, FLOATS.vectorShape());
  private static final int LENGTH = FLOATS.length();

  // Of 256 bits there are mostly 16 (AVX2), of 512 and of 128 bits mostly 32.
  private static final boolean FEW_REGISTERS = FLOATS.vectorBitSize() == 256;

  private VectorArithmetic() {}

  /** Vectors of fewer than 4 floats are not worth it, and have no half to widen from. */
  static Arithmetic orScalar() {
    boolean fits = LENGTH >= 4 && LANES % LENGTH == 0;
    return fits ? new VectorArithmetic() : new ScalarArithmetic();
  }

  @Override
  public String description() {
    return "Vector API, " + FLOATS.vectorBitSize() + " bits";
  }

  @Override
  public boolean isVector() {
    return true;
  }

  @Override
  public int wholeVectors(int lanes) {
    return (lanes + LENGTH - 1) / LENGTH * LENGTH;
  }

  // Storage types.

  @Override
  public void read(
      DataType type, MemorySegment from, long offset, float[] into, int at, int count) {
    VectorStorage.read(type, from, offset, into, at, count);
  }

  @Override
  public void write(
      DataType type, float[] from, int at, MemorySegment into, long offset, int count) {
    VectorStorage.write(type, from, at, into, offset, count);
  }

  // Matrix products.

  @Override
  public void multiplyRows(
      int rows,
      int depth,
      int lanes,
      float[] a,
      int aAt,
      int aPitch,
      float[] b,
      int bAt,
      float[] c,
      int cAt) {
    int vectors = lanes / LENGTH;
    for (int v = 0; v < vectors; ) {
      int left = vectors - v;
      int bv = bAt + v * LENGTH;
      int cv = cAt + v * LENGTH;
      if (FEW_REGISTERS && left >= 2) {
        for (int i = 0; i < rows; i += 6) {
          NarrowTiles.rows6x2(
              rows - i, depth, a, aAt + i * aPitch, aPitch, b, bv, c, cv + i * LANES);
        }
        v += 2;
      } else if (left >= 4) {
        for (int i = 0; i < rows; i += 4) {
          RowTiles.rows4x4(rows - i, depth, a, aAt + i * aPitch, aPitch, b, bv, c, cv + i * LANES);
        }
        v += 4;
      } else if (left == 3) {
        for (int i = 0; i < rows; i += 4) {
          RowTiles.rows4x3(rows - i, depth, a, aAt + i * aPitch, aPitch, b, bv, c, cv + i * LANES);
        }
        v += 3;
      } else if (left == 2) {
        for (int i = 0; i < rows; i += 8) {
          RowTiles.rows8x2(rows - i, depth, a, aAt + i * aPitch, aPitch, b, bv, c, cv + i * LANES);
        }
        v += 2;
      } else {
        for (int i = 0; i < rows; i += 12) {
          RowTiles.rows12x1(rows - i, depth, a, aAt + i * aPitch, aPitch, b, bv, c, cv + i * LANES);
        }
        v += 1;
      }
    }
  }

  @Override
  public void multiplyColumns(
      int rows,
      int depth,
      int lanes,
      float[] a,
      int aAt,
      int aPitch,
      float[] b,
      int bAt,
      float[] c,
      int cAt) {
    int vectors = lanes / LENGTH;
    for (int v = 0; v < vectors; ) {
      int bv = bAt + v * LENGTH;
      int cv = cAt + v * LENGTH;
      if (FEW_REGISTERS && vectors - v >= 2) {
        for (int i = 0; i < rows; i += 4) {
          NarrowTiles.columns4x2(rows - i, depth, a, aAt + i, aPitch, b, bv, c, cv + i * LANES);
        }
        v += 2;
      } else if (vectors - v >= 2) {
        for (int i = 0; i < rows; i += 12) {
          ColumnTiles.columns12x2(rows - i, depth, a, aAt + i, aPitch, b, bv, c, cv + i * LANES);
        }
        v += 2;
      } else {
        for (int i = 0; i < rows; i += 16) {
          ColumnTiles.columns16x1(rows - i, depth, a, aAt + i, aPitch, b, bv, c, cv + i * LANES);
        }
        v += 1;
      }
    }
  }

  @Override
  public void dots(
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
    DotTiles.dots(this, matrix, firstRow, rows, x, xPitch, count, out, outAt, outPitch, scratch);
  }

  // Rows.

  @Override
  public float dot(float[] a, int aAt, float[] b, int bAt, int count) {
    FloatVector s0 = FloatVector.zero(FLOATS);
    FloatVector s1 = FloatVector.zero(FLOATS);
    int i = 0;
    for (; i <= count - 2 * LENGTH; i += 2 * LENGTH) {
      s0 =
          FloatVector.fromArray(FLOATS, a, aAt + i)
              .fma(FloatVector.fromArray(FLOATS, b, bAt + i), s0);
      s1 =
          FloatVector.fromArray(FLOATS, a, aAt + i + LENGTH)
              .fma(FloatVector.fromArray(FLOATS, b, bAt + i + LENGTH), s1);
    }
    for (; i <= count - LENGTH; i += LENGTH) {
      s0 =
          FloatVector.fromArray(FLOATS, a, aAt + i)
              .fma(FloatVector.fromArray(FLOATS, b, bAt + i), s0);
    }
    float sum = sumOfLanes(s0.add(s1));
    for (; i < count; i++) {
      sum = Math.fma(a[aAt + i], b[bAt + i], sum);
    }
    return sum;
  }

  /** Neighbours first, so that the order is the same for every run. */
  private static float sumOfLanes(FloatVector v) {
    float sum = 0;
    for (int lane = 0; lane < LENGTH; lane += 4) {
      sum += (v.lane(lane) + v.lane(lane + 1)) + (v.lane(lane + 2) + v.lane(lane + 3));
    }
    return sum;
  }

  @Override
  public void addScaled(float factor, float[] from, int fromAt, float[] into, int at, int count) {
    int i = 0;
    for (; i <= count - LENGTH; i += LENGTH) {
      FloatVector.fromArray(FLOATS, from, fromAt + i)
          .fma(FloatVector.broadcast(FLOATS, factor), FloatVector.fromArray(FLOATS, into, at + i))
          .intoArray(into, at + i);
    }
    for (; i < count; i++) {
      into[at + i] = Math.fma(from[fromAt + i], factor, into[at + i]);
    }
  }

  @Override
  public void scaleAndAdd(
      float scale, float factor, float[] from, int fromAt, float[] into, int at, int count) {
    int i = 0;
    for (; i <= count - LENGTH; i += LENGTH) {
      FloatVector old = FloatVector.fromArray(FLOATS, into, at + i).mul(scale);
      FloatVector.fromArray(FLOATS, from, fromAt + i)
          .fma(FloatVector.broadcast(FLOATS, factor), old)
          .intoArray(into, at + i);
    }
    for (; i < count; i++) {
      into[at + i] = Math.fma(from[fromAt + i], factor, into[at + i] * scale);
    }
  }

  // Functions.

  @Override
  public void exp(float[] x, int at, int count) {
    int i = 0;
    for (; i <= count - LENGTH; i += LENGTH) {
      Exponential.of(FloatVector.fromArray(FLOATS, x, at + i)).intoArray(x, at + i);
    }
    for (; i < count; i++) {
      x[at + i] = Exponential.of(x[at + i]);
    }
  }

  @Override
  public void expOfFew(float[] x, int at, int count) {
    for (int i = at; i < at + count; i++) {
      x[i] = Exponential.of(x[i]);
    }
  }

  @Override
  public void silu(float[] x, int at, int count) {
    int i = 0;
    for (; i <= count - LENGTH; i += LENGTH) {
      FloatVector v = FloatVector.fromArray(FLOATS, x, at + i);
      v.div(Exponential.onePlusOfMinus(v)).intoArray(x, at + i);
    }
    for (; i < count; i++) {
      x[at + i] = x[at + i] / (1 + Exponential.of(-x[at + i]));
    }
  }

  @Override
  public void gatedSigmoid(
      float[] gate,
      int gateAt,
      float[] up,
      int upAt,
      float alpha,
      float shift,
      float[] into,
      int at,
      int count) {
    int i = 0;
    for (; i <= count - LENGTH; i += LENGTH) {
      FloatVector g = FloatVector.fromArray(FLOATS, gate, gateAt + i);
      FloatVector u = FloatVector.fromArray(FLOATS, up, upAt + i).add(shift);
      g.div(Exponential.onePlusOfMinus(g.mul(alpha))).mul(u).intoArray(into, at + i);
    }
    for (; i < count; i++) {
      float g = gate[gateAt + i];
      into[at + i] = g / (1 + Exponential.of(g * -alpha)) * (up[upAt + i] + shift);
    }
  }

  // Softmax.

  @Override
  public void softmaxStep(
      float[] scores,
      int keys,
      int lanes,
      float scale,
      int @Nullable [] visible,
      float[] max,
      float[] sum,
      float[] correction) {
    // One place of each kind in this method: C2 stops inlining in larger ones, and each vector
    // becomes an object.
    for (int lane = 0; lane < lanes; lane += LENGTH) {
      FloatVector before = FloatVector.fromArray(FLOATS, max, lane);
      FloatVector seen = visible(visible, keys, lane);
      FloatVector highest = before;
      for (int key = 0; key < keys; key++) {
        // Behind what a lane sees scores may be anything, NaN too.
        FloatVector s = FloatVector.fromArray(FLOATS, scores, key * LANES + lane).mul(scale);
        s =
            FloatVector.broadcast(FLOATS, Float.NEGATIVE_INFINITY)
                .blend(s, seen.compare(VectorOperators.GT, (float) key));
        s.intoArray(scores, key * LANES + lane);
        highest = highest.blend(s, s.compare(VectorOperators.GT, highest));
      }
      highest.intoArray(max, lane);
      // The old maximum goes through the exponential as one more key does.
      before.intoArray(scores, keys * LANES + lane);
      // A lane without a key yet has p = exp(-inf - 0) = 0.
      FloatVector reference =
          highest.blend(0, highest.compare(VectorOperators.EQ, Float.NEGATIVE_INFINITY));
      FloatVector total = FloatVector.zero(FLOATS);
      FloatVector p = total;
      for (int key = 0; key <= keys; key++) {
        int at = key * LANES + lane;
        total = total.add(p);
        p = Exponential.ofModerate(FloatVector.fromArray(FLOATS, scores, at).sub(reference));
        p.intoArray(scores, at);
      }
      p.intoArray(correction, lane);
      FloatVector.fromArray(FLOATS, sum, lane).fma(p, total).intoArray(sum, lane);
    }
  }

  /** How many keys each of some lanes sees. */
  private static FloatVector visible(int @Nullable [] visible, int keys, int lane) {
    return visible == null
        ? FloatVector.broadcast(FLOATS, keys)
        : (FloatVector) IntVector.fromArray(INTS, visible, lane).castShape(FLOATS, 0);
  }

  @Override
  public void scaleLanes(float[] panel, int rows, int lanes, float[] factors) {
    for (int lane = 0; lane < lanes; lane += LENGTH) {
      FloatVector factor = FloatVector.fromArray(FLOATS, factors, lane);
      if (factor.compare(VectorOperators.EQ, 1).allTrue()) {
        continue;
      }
      for (int row = 0; row < rows; row++) {
        int at = row * LANES + lane;
        FloatVector.fromArray(FLOATS, panel, at).mul(factor).intoArray(panel, at);
      }
    }
  }

  @Override
  public void softmaxGradient(
      float[] scores,
      float[] dp,
      int keys,
      int lanes,
      float scale,
      int @Nullable [] visible,
      float[] lse,
      float[] delta) {
    for (int lane = 0; lane < lanes; lane += LENGTH) {
      FloatVector logSum = FloatVector.fromArray(FLOATS, lse, lane);
      FloatVector mean = FloatVector.fromArray(FLOATS, delta, lane);
      VectorMask<Float> any = logSum.compare(VectorOperators.NE, Float.NEGATIVE_INFINITY);
      FloatVector seen = visible(visible, keys, lane);
      for (int key = 0; key < keys; key++) {
        int at = key * LANES + lane;
        VectorMask<Float> sees = seen.compare(VectorOperators.GT, (float) key).and(any);
        FloatVector s = FloatVector.fromArray(FLOATS, scores, at).mul(scale);
        FloatVector p = FloatVector.zero(FLOATS).blend(Exponential.ofModerate(s.sub(logSum)), sees);
        FloatVector ds = p.mul(FloatVector.fromArray(FLOATS, dp, at).sub(mean));
        p.intoArray(scores, at);
        FloatVector.zero(FLOATS).blend(ds, sees).intoArray(dp, at);
      }
    }
  }

  // Convolution.

  @Override
  public void convolve(
      float[] in,
      int inAt,
      int inPitch,
      int rows,
      int width,
      int channels,
      float[] taps,
      int tapsAt,
      int tapsPitch,
      boolean silu,
      float[] out,
      int outAt,
      int outPitch) {
    VectorConvolution.convolve(
        in, inAt, inPitch, rows, width, channels, taps, tapsAt, tapsPitch, silu, out, outAt,
        outPitch);
  }

  @Override
  public boolean convolveInMemory(
      MatrixRows in,
      long inRow,
      MatrixRows out,
      long outRow,
      int rows,
      int width,
      int from,
      int channels,
      float[] taps,
      int tapsPitch,
      boolean silu) {
    return StreamedConvolution.convolve(
        in, inRow, out, outRow, rows, width, from, channels, taps, tapsPitch, silu);
  }

  @Override
  public void timesSiluSlope(float[] pre, int preAt, float[] dout, int at, int count) {
    int i = 0;
    for (; i <= count - LENGTH; i += LENGTH) {
      FloatVector x = FloatVector.fromArray(FLOATS, pre, preAt + i);
      FloatVector s = FloatVector.broadcast(FLOATS, 1).div(Exponential.onePlusOfMinus(x));
      FloatVector slope =
          s.mul(x.fma(FloatVector.broadcast(FLOATS, 1).sub(s), FloatVector.broadcast(FLOATS, 1)));
      FloatVector.fromArray(FLOATS, dout, at + i).mul(slope).intoArray(dout, at + i);
    }
    for (; i < count; i++) {
      float x = pre[preAt + i];
      float s = 1 / (1 + Exponential.of(-x));
      dout[at + i] *= s * Math.fma(x, 1 - s, 1);
    }
  }

  @Override
  public void addColumnDots(
      float[] a,
      int aAt,
      int aPitch,
      float[] b,
      int bAt,
      int bPitch,
      int rows,
      int channels,
      float[] sums,
      int at) {
    int c = 0;
    for (; c <= channels - LENGTH; c += LENGTH) {
      FloatVector sum = FloatVector.zero(FLOATS);
      for (int r = 0; r < rows; r++) {
        sum =
            FloatVector.fromArray(FLOATS, a, aAt + r * aPitch + c)
                .fma(FloatVector.fromArray(FLOATS, b, bAt + r * bPitch + c), sum);
      }
      FloatVector.fromArray(FLOATS, sums, at + c).add(sum).intoArray(sums, at + c);
    }
    for (; c < channels; c++) {
      float sum = 0;
      for (int r = 0; r < rows; r++) {
        sum = Math.fma(a[aAt + r * aPitch + c], b[bAt + r * bPitch + c], sum);
      }
      sums[at + c] += sum;
    }
  }

  /** Twelve chains: more than latency times rate of any core. */
  @Override
  public long multiplyAdds(int rounds, float[] sink) {
    FloatVector m = FloatVector.broadcast(FLOATS, 0.999f);
    FloatVector a = FloatVector.broadcast(FLOATS, 0.001f);
    FloatVector v0 = m;
    FloatVector v1 = m;
    FloatVector v2 = m;
    FloatVector v3 = m;
    FloatVector v4 = m;
    FloatVector v5 = m;
    FloatVector v6 = m;
    FloatVector v7 = m;
    FloatVector v8 = m;
    FloatVector v9 = m;
    FloatVector va = m;
    FloatVector vb = m;
    for (int round = 0; round < rounds; round++) {
      v0 = v0.fma(m, a);
      v1 = v1.fma(m, a);
      v2 = v2.fma(m, a);
      v3 = v3.fma(m, a);
      v4 = v4.fma(m, a);
      v5 = v5.fma(m, a);
      v6 = v6.fma(m, a);
      v7 = v7.fma(m, a);
      v8 = v8.fma(m, a);
      v9 = v9.fma(m, a);
      va = va.fma(m, a);
      vb = vb.fma(m, a);
    }
    v0.add(v1)
        .add(v2.add(v3))
        .add(v4.add(v5))
        .add(v6.add(v7))
        .add(v8.add(v9))
        .add(va.add(vb))
        .intoArray(sink, 0);
    return 24L * LENGTH * rounds;
  }
}
