package dev.weft.backend.cpu.arithmetic;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/** The loops of {@link Arithmetic#convolve}: one vector of channels at a time, down the rows. */
final class VectorConvolution {
  private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
  private static final int LENGTH = FLOATS.length();

  private VectorConvolution() {}

  static void convolve(
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
    int whole = channels / LENGTH * LENGTH;
    for (int c = 0; c < whole; c += LENGTH) {
      if (width == 4) {
        four(
            in,
            inAt + c,
            inPitch,
            rows,
            taps,
            tapsAt + c,
            tapsPitch,
            silu,
            out,
            outAt + c,
            outPitch);
      } else {
        any(
            in,
            inAt + c,
            inPitch,
            rows,
            width,
            taps,
            tapsAt + c,
            tapsPitch,
            silu,
            out,
            outAt + c,
            outPitch);
      }
    }
    for (int r = 0; r < rows; r++) {
      for (int c = whole; c < channels; c++) {
        float sum = taps[tapsAt + width * tapsPitch + c];
        for (int k = 0; k < width; k++) {
          sum = Math.fma(taps[tapsAt + k * tapsPitch + c], in[inAt + (r + k) * inPitch + c], sum);
        }
        out[outAt + r * outPitch + c] = silu ? sum / (1 + Exponential.of(-sum)) : sum;
      }
    }
  }

  /** One vector of channels, four taps: the window of the last rows stays in registers. */
  private static void four(
      float[] in,
      int inAt,
      int inPitch,
      int rows,
      float[] taps,
      int tapsAt,
      int tapsPitch,
      boolean silu,
      float[] out,
      int outAt,
      int outPitch) {
    FloatVector w0 = FloatVector.fromArray(FLOATS, taps, tapsAt);
    FloatVector w1 = FloatVector.fromArray(FLOATS, taps, tapsAt + tapsPitch);
    FloatVector w2 = FloatVector.fromArray(FLOATS, taps, tapsAt + 2 * tapsPitch);
    FloatVector w3 = FloatVector.fromArray(FLOATS, taps, tapsAt + 3 * tapsPitch);
    FloatVector bias = FloatVector.fromArray(FLOATS, taps, tapsAt + 4 * tapsPitch);
    FloatVector x0 = FloatVector.fromArray(FLOATS, in, inAt);
    FloatVector x1 = FloatVector.fromArray(FLOATS, in, inAt + inPitch);
    FloatVector x2 = FloatVector.fromArray(FLOATS, in, inAt + 2 * inPitch);
    for (int r = 0; r < rows; r++) {
      FloatVector x3 = FloatVector.fromArray(FLOATS, in, inAt + (r + 3) * inPitch);
      FloatVector sum = w3.fma(x3, w2.fma(x2, w1.fma(x1, w0.fma(x0, bias))));
      if (silu) {
        sum = sum.div(Exponential.onePlusOfMinus(sum));
      }
      sum.intoArray(out, outAt + r * outPitch);
      x0 = x1;
      x1 = x2;
      x2 = x3;
    }
  }

  private static void any(
      float[] in,
      int inAt,
      int inPitch,
      int rows,
      int width,
      float[] taps,
      int tapsAt,
      int tapsPitch,
      boolean silu,
      float[] out,
      int outAt,
      int outPitch) {
    for (int r = 0; r < rows; r++) {
      FloatVector sum = FloatVector.fromArray(FLOATS, taps, tapsAt + width * tapsPitch);
      for (int k = 0; k < width; k++) {
        FloatVector x = FloatVector.fromArray(FLOATS, in, inAt + (r + k) * inPitch);
        sum = x.fma(FloatVector.fromArray(FLOATS, taps, tapsAt + k * tapsPitch), sum);
      }
      if (silu) {
        sum = sum.div(Exponential.onePlusOfMinus(sum));
      }
      sum.intoArray(out, outAt + r * outPitch);
    }
  }
}
