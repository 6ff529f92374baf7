package dev.weft.backend.cpu.arithmetic;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import dev.weft.DataType;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Plain loops, for JVMs without the Vector API's module. The inner loops run along the lanes, so
 * that the compiler may make vectors of them. Multiplies and adds are rounded apart: without the
 * instruction a fused one takes a hundred times as long.
 */
final class ScalarArithmetic implements Arithmetic {
  @Override
  public String description() {
    return "plain loops: the module jdk.incubator.vector is not there";
  }

  @Override
  public boolean isVector() {
    return false;
  }

  @Override
  public int wholeVectors(int lanes) {
    return lanes;
  }

  @Override
  public void read(
      DataType type, MemorySegment from, long offset, float[] into, int at, int count) {
    switch (type) {
      case F32 ->
          MemorySegment.copy(from, JAVA_FLOAT_UNALIGNED, count == 0 ? 0 : offset, into, at, count);
      case BF16 -> {
        for (int i = 0; i < count; i++) {
          into[at + i] = StorageTypes.bfloat16(from.get(JAVA_SHORT_UNALIGNED, offset + 2L * i));
        }
      }
      case F16 -> {
        for (int i = 0; i < count; i++) {
          into[at + i] = Float.float16ToFloat(from.get(JAVA_SHORT_UNALIGNED, offset + 2L * i));
        }
      }
      default -> throw StorageTypes.notFloating(type);
    }
  }

  @Override
  public void write(
      DataType type, float[] from, int at, MemorySegment into, long offset, int count) {
    switch (type) {
      case F32 ->
          MemorySegment.copy(from, at, into, JAVA_FLOAT_UNALIGNED, count == 0 ? 0 : offset, count);
      case BF16 -> {
        for (int i = 0; i < count; i++) {
          into.set(JAVA_SHORT_UNALIGNED, offset + 2L * i, StorageTypes.toBfloat16(from[at + i]));
        }
      }
      case F16 -> {
        for (int i = 0; i < count; i++) {
          into.set(JAVA_SHORT_UNALIGNED, offset + 2L * i, Float.floatToFloat16(from[at + i]));
        }
      }
      default -> throw StorageTypes.notFloating(type);
    }
  }

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
    float[] sum = new float[LANES];
    for (int i = 0; i < rows; i++) {
      Arrays.fill(sum, 0, lanes, 0);
      for (int k = 0; k < depth; k++) {
        float factor = a[aAt + i * aPitch + k];
        int bk = bAt + k * LANES;
        for (int lane = 0; lane < lanes; lane++) {
          sum[lane] += factor * b[bk + lane];
        }
      }
      for (int lane = 0; lane < lanes; lane++) {
        c[cAt + i * LANES + lane] += sum[lane];
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
    float[] sum = new float[LANES];
    for (int i = 0; i < rows; i++) {
      Arrays.fill(sum, 0, lanes, 0);
      for (int k = 0; k < depth; k++) {
        float factor = a[aAt + k * aPitch + i];
        int bk = bAt + k * LANES;
        for (int lane = 0; lane < lanes; lane++) {
          sum[lane] += factor * b[bk + lane];
        }
      }
      for (int lane = 0; lane < lanes; lane++) {
        c[cAt + i * LANES + lane] += sum[lane];
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
    for (int r = 0; r < rows; r++) {
      long offset = matrix.offset(firstRow + r, 0);
      read(matrix.type(), matrix.segment(), offset, scratch, 0, matrix.length());
      for (int n = 0; n < count; n++) {
        out[outAt + n * outPitch + r] = dot(scratch, 0, x, n * xPitch, matrix.length());
      }
    }
  }

  @Override
  public float dot(float[] a, int aAt, float[] b, int bAt, int count) {
    float s0 = 0;
    float s1 = 0;
    float s2 = 0;
    float s3 = 0;
    int i = 0;
    for (; i + 3 < count; i += 4) {
      s0 += a[aAt + i] * b[bAt + i];
      s1 += a[aAt + i + 1] * b[bAt + i + 1];
      s2 += a[aAt + i + 2] * b[bAt + i + 2];
      s3 += a[aAt + i + 3] * b[bAt + i + 3];
    }
    for (; i < count; i++) {
      s0 += a[aAt + i] * b[bAt + i];
    }
    return (s0 + s1) + (s2 + s3);
  }

  @Override
  public void addScaled(float factor, float[] from, int fromAt, float[] into, int at, int count) {
    for (int i = 0; i < count; i++) {
      into[at + i] += factor * from[fromAt + i];
    }
  }

  @Override
  public void scaleAndAdd(
      float scale, float factor, float[] from, int fromAt, float[] into, int at, int count) {
    for (int i = 0; i < count; i++) {
      into[at + i] = into[at + i] * scale + factor * from[fromAt + i];
    }
  }

  @Override
  public void exp(float[] x, int at, int count) {
    for (int i = at; i < at + count; i++) {
      x[i] = ScalarExponential.of(x[i]);
    }
  }

  @Override
  public void expOfFew(float[] x, int at, int count) {
    exp(x, at, count);
  }

  @Override
  public void silu(float[] x, int at, int count) {
    for (int i = at; i < at + count; i++) {
      x[i] = x[i] / (1 + ScalarExponential.of(-x[i]));
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
    for (int i = 0; i < count; i++) {
      float g = gate[gateAt + i];
      into[at + i] = g / (1 + ScalarExponential.of(g * -alpha)) * (up[upAt + i] + shift);
    }
  }

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
    for (int lane = 0; lane < lanes; lane++) {
      int seen = visible == null ? keys : Math.min(keys, visible[lane]);
      float highest = max[lane];
      for (int key = 0; key < seen; key++) {
        float s = scores[key * LANES + lane] * scale;
        highest = s > highest ? s : highest;
      }
      float reference = highest == Float.NEGATIVE_INFINITY ? 0 : highest;
      float total = 0;
      for (int key = 0; key < keys; key++) {
        int at = key * LANES + lane;
        scores[at] = key < seen ? ScalarExponential.of(scores[at] * scale - reference) : 0;
        total += scores[at];
      }
      correction[lane] = ScalarExponential.of(max[lane] - reference);
      sum[lane] = sum[lane] * correction[lane] + total;
      max[lane] = highest;
    }
  }

  @Override
  public void scaleLanes(float[] panel, int rows, int lanes, float[] factors) {
    for (int row = 0; row < rows; row++) {
      for (int lane = 0; lane < lanes; lane++) {
        panel[row * LANES + lane] *= factors[lane];
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
    for (int lane = 0; lane < lanes; lane++) {
      int seen = visible == null ? keys : Math.min(keys, visible[lane]);
      if (lse[lane] == Float.NEGATIVE_INFINITY) {
        seen = 0;
      }
      for (int key = 0; key < keys; key++) {
        int at = key * LANES + lane;
        float p = key < seen ? ScalarExponential.of(scores[at] * scale - lse[lane]) : 0;
        scores[at] = p;
        dp[at] = key < seen ? p * (dp[at] - delta[lane]) : 0;
      }
    }
  }

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
    for (int r = 0; r < rows; r++) {
      int to = outAt + r * outPitch;
      System.arraycopy(taps, tapsAt + width * tapsPitch, out, to, channels);
      for (int k = 0; k < width; k++) {
        int from = inAt + (r + k) * inPitch;
        int tap = tapsAt + k * tapsPitch;
        for (int c = 0; c < channels; c++) {
          out[to + c] += taps[tap + c] * in[from + c];
        }
      }
      if (silu) {
        silu(out, to, channels);
      }
    }
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
    return false;
  }

  @Override
  public void timesSiluSlope(float[] pre, int preAt, float[] dout, int at, int count) {
    for (int i = 0; i < count; i++) {
      float x = pre[preAt + i];
      float s = 1 / (1 + ScalarExponential.of(-x));
      dout[at + i] *= s * (1 + x * (1 - s));
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
    for (int r = 0; r < rows; r++) {
      int ar = aAt + r * aPitch;
      int br = bAt + r * bPitch;
      for (int c = 0; c < channels; c++) {
        sums[at + c] += a[ar + c] * b[br + c];
      }
    }
  }

  @Override
  public long multiplyAdds(int rounds, float[] sink) {
    for (int round = 0; round < rounds; round++) {
      for (int lane = 0; lane < LANES; lane++) {
        float v = sink[lane];
        v = v * 0.999f + 0.001f;
        v = v * 0.999f + 0.001f;
        v = v * 0.999f + 0.001f;
        v = v * 0.999f + 0.001f;
        sink[lane] = v;
      }
    }
    return 8L * LANES * rounds;
  }
}
