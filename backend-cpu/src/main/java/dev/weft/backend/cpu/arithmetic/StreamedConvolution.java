package dev.weft.backend.cpu.arithmetic;

import dev.weft.DataType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * The loops of {@link Arithmetic#convolveInMemory}: four taps, one vector of channels down some
 * rows. The window of the last rows stays in registers, so each element is read, and widened, once.
 *
 * <p>A row is the next one's neighbour in no cache line, so the caller goes along the channels
 * first and down few rows at a time: as many as the prefetcher follows streams.
 */
final class StreamedConvolution {
  private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
  private static final int LENGTH = FLOATS.length();
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  private StreamedConvolution() {}

  /** What {@link Arithmetic#convolveInMemory} says. */
  static boolean convolve(
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
    boolean both = in.type() == out.type() && in.type() != DataType.F16;
    if (width != 4 || channels % LENGTH != 0 || !both) {
      return false;
    }
    boolean wide = in.type() == DataType.F32;
    for (int c = from; c < from + channels; c += LENGTH) {
      long start = in.offset(inRow, c);
      long target = out.offset(outRow, c);
      if (wide) {
        float32(
            in.segment(),
            start,
            in.pitch(),
            rows,
            taps,
            c,
            tapsPitch,
            silu,
            out.segment(),
            target,
            out.pitch());
      } else {
        bfloat16(
            in.segment(),
            start,
            in.pitch(),
            rows,
            taps,
            c,
            tapsPitch,
            silu,
            out.segment(),
            target,
            out.pitch());
      }
    }
    return true;
  }

  /** F32 to F32. */
  private static void float32(
      MemorySegment in,
      long inAt,
      long inPitch,
      int rows,
      float[] taps,
      int tapsAt,
      int tapsPitch,
      boolean silu,
      MemorySegment out,
      long outAt,
      long outPitch) {
    FloatVector w0 = FloatVector.fromArray(FLOATS, taps, tapsAt);
    FloatVector w1 = FloatVector.fromArray(FLOATS, taps, tapsAt + tapsPitch);
    FloatVector w2 = FloatVector.fromArray(FLOATS, taps, tapsAt + 2 * tapsPitch);
    FloatVector w3 = FloatVector.fromArray(FLOATS, taps, tapsAt + 3 * tapsPitch);
    FloatVector bias = FloatVector.fromArray(FLOATS, taps, tapsAt + 4 * tapsPitch);
    FloatVector x0 = FloatVector.fromMemorySegment(FLOATS, in, inAt, ORDER);
    FloatVector x1 = FloatVector.fromMemorySegment(FLOATS, in, inAt + inPitch, ORDER);
    FloatVector x2 = FloatVector.fromMemorySegment(FLOATS, in, inAt + 2 * inPitch, ORDER);
    for (int r = 0; r < rows; r++) {
      FloatVector x3 = FloatVector.fromMemorySegment(FLOATS, in, inAt + (r + 3) * inPitch, ORDER);
      FloatVector sum = w3.fma(x3, w2.fma(x2, w1.fma(x1, w0.fma(x0, bias))));
      if (silu) {
        sum = sum.div(Exponential.onePlusOfMinus(sum));
      }
      sum.intoMemorySegment(out, outAt + r * outPitch, ORDER);
      x0 = x1;
      x1 = x2;
      x2 = x3;
    }
  }

  /** BF16 to BF16. The window fills in the loop: C2 stops inlining where more places read. */
  private static void bfloat16(
      MemorySegment in,
      long inAt,
      long inPitch,
      int rows,
      float[] taps,
      int tapsAt,
      int tapsPitch,
      boolean silu,
      MemorySegment out,
      long outAt,
      long outPitch) {
    FloatVector w0 = FloatVector.fromArray(FLOATS, taps, tapsAt);
    FloatVector w1 = FloatVector.fromArray(FLOATS, taps, tapsAt + tapsPitch);
    FloatVector w2 = FloatVector.fromArray(FLOATS, taps, tapsAt + 2 * tapsPitch);
    FloatVector w3 = FloatVector.fromArray(FLOATS, taps, tapsAt + 3 * tapsPitch);
    FloatVector bias = FloatVector.fromArray(FLOATS, taps, tapsAt + 4 * tapsPitch);
    FloatVector x0 = bias;
    FloatVector x1 = bias;
    FloatVector x2 = bias;
    for (int r = -3; r < rows; r++) {
      FloatVector x3 = VectorStorage.bfloat16(in, inAt + (r + 3) * inPitch);
      if (r >= 0) {
        FloatVector sum = w3.fma(x3, w2.fma(x2, w1.fma(x1, w0.fma(x0, bias))));
        if (silu) {
          sum = sum.div(Exponential.onePlusOfMinus(sum));
        }
        VectorStorage.toBfloat16(sum).intoMemorySegment(out, outAt + r * outPitch, ORDER);
      }
      x0 = x1;
      x1 = x2;
      x2 = x3;
    }
  }
}
