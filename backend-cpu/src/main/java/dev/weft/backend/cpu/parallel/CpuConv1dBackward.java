package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * One backward call. A task walks all sequences in order for a range of channels, so that the sums
 * of dweight and dbias have one order only: over some rows in float32, over these in float64. It
 * holds the last W - 1 rows of x and of the gradient g at the pre-activation. With g, dx is a
 * convolution too, its taps reversed: rows up to token t give dx (or, before the first token,
 * dinitial) up to t - (W-1).
 */
final class CpuConv1dBackward {
  private static final int ROWS = 16;
  private static final int MOST_CHANNELS = 256;
  private static final int LEAST_CHANNELS = 16;

  // Arrays of the scratch.
  private static final int IN = 0;
  private static final int PRE = 1;
  private static final int GRADIENT = 2;
  private static final int RESULT = 3;
  private static final int PART = 4;
  private static final int REVERSED = 5;
  private static final int ROW = 6;

  private final CausalConv1dSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final Conv1dTaps taps;
  private final boolean silu;
  private final boolean accumulate;
  private final Elements x;
  private final Elements dout;
  private final Elements cuSeqlens;
  private final @Nullable Elements cacheIndices;
  private final @Nullable Elements initialStates;
  private final @Nullable Elements hasInitialState;
  private final @Nullable Elements dfinalStates;
  private final @Nullable Elements dx;
  private final @Nullable Elements dweight;
  private final @Nullable Elements dbias;
  private final @Nullable Elements dinitialStates;

  CpuConv1dBackward(CausalConv1dSpec spec, Compute compute, Conv1dBackward a, Conv1dTaps taps) {
    this.spec = spec;
    this.compute = compute;
    arithmetic = compute.arithmetic();
    this.taps = taps;
    silu = spec.activation() == Activation.SILU;
    accumulate = a.accumulate();
    x = Elements.of(a.x());
    dout = Elements.of(a.dout());
    cuSeqlens = Elements.of(a.cuSeqlens());
    cacheIndices = elements(a.cacheIndices());
    initialStates = elements(a.initialStates());
    hasInitialState = elements(a.hasInitialState());
    dfinalStates = elements(a.dfinalStates());
    dx = elements(a.dx());
    dweight = elements(a.dweight());
    dbias = elements(a.dbias());
    dinitialStates = elements(a.dinitialStates());
  }

  private static @Nullable Elements elements(@Nullable Tensor tensor) {
    return tensor == null ? null : Elements.of(tensor);
  }

  void run() {
    int channels = spec.channels();
    long each = Math.ceilDiv(channels, 4L * compute.threads());
    int range = Math.clamp(Math.ceilDiv(each, 16L) * 16, LEAST_CHANNELS, MOST_CHANNELS);
    compute.run(
        Math.ceilDiv(channels, range),
        (task, scratch) ->
            new Range(task * range, Math.min(range, channels - task * range), scratch).run());
  }

  /** Some channels. */
  private final class Range {
    private final int width = spec.width();
    private final int history = width - 1;
    private final int from;
    private final int channels;
    private final float[] in;
    private final float[] pre;
    private final float[] g;
    private final float[] result;
    private final float[] part;
    private final float[] reversed;
    private final float[] row;
    private final double[] sums; // W rows of dweight, then dbias

    Range(int from, int channels, TaskScratch scratch) {
      this.from = from;
      this.channels = channels;
      in = scratch.floats(IN, (history + ROWS) * channels);
      pre = scratch.floats(PRE, ROWS * channels);
      g = scratch.floats(GRADIENT, (history + ROWS) * channels);
      result = scratch.floats(RESULT, ROWS * channels);
      part = scratch.floats(PART, (width + 1) * channels);
      reversed = scratch.floats(REVERSED, (width + 1) * channels);
      row = scratch.floats(ROW, ROWS * channels);
      sums = scratch.doubles(0, (width + 1) * channels);
      Arrays.fill(sums, 0, (width + 1) * channels, 0);
      for (int k = 0; k < width; k++) {
        int tap = k * taps.pitch() + from;
        System.arraycopy(taps.values(), tap, reversed, (history - k) * channels, channels);
      }
      Arrays.fill(reversed, width * channels, (width + 1) * channels, 0);
    }

    void run() {
      for (long b = 0; b < cuSeqlens.size(0) - 1; b++) {
        sequence(b);
      }
      for (int c = 0; c < channels; c++) {
        for (int k = 0; k < width && dweight != null; k++) {
          double before = accumulate ? dweight.get(from + c, k) : 0;
          dweight.set(from + c, k, before + sums[k * channels + c]);
        }
        if (dbias != null) {
          double before = accumulate ? dbias.get(from + c) : 0;
          dbias.set(from + c, before + sums[width * channels + c]);
        }
      }
    }

    private void sequence(long b) {
      // Clamped, so that no content of cu_seqlens leads out of the rows.
      long start = Math.clamp(cuSeqlens.getInt(b), 0, x.size(0));
      long length = Math.clamp(cuSeqlens.getInt(b + 1), start, x.size(0)) - start;
      boolean fresh =
          initialStates == null || hasInitialState == null || hasInitialState.getInt(b) == 0;
      if (cacheIndices != null
          && (cacheIndices.getInt(b) == spec.padSlotId() || cacheIndices.getInt(b) < 0)) {
        Arrays.fill(result, 0, channels, 0);
        for (long p = -history; p < length; p++) {
          store(b, start, p, 0);
        }
        return;
      }
      Conv1dRows inputs = new Conv1dRows(arithmetic, x, b, start);
      Conv1dRows gradients = new Conv1dRows(arithmetic, dout, b, start);
      Arrays.fill(in, 0, history * channels, 0);
      Arrays.fill(g, 0, history * channels, 0);
      for (int j = 0; j < history && initialStates != null && !fresh; j++) {
        initialStates.copyAlong(1, channels, in, j * channels, b, from, j);
      }
      for (long t = 0; t < length + history; t += ROWS) {
        int rows = (int) Math.min(ROWS, length + history - t);
        int real = Math.clamp(length - t, 0, rows);
        for (int r = 0; r < real; r++) {
          inputs.read(t + r, from, channels, in, (history + r) * channels);
          gradients.read(t + r, from, channels, g, (history + r) * channels);
        }
        // Behind the last token there is no gradient.
        Arrays.fill(g, (history + real) * channels, (history + rows) * channels, 0);
        if (silu) {
          convolve(in, real, taps.values(), from, taps.pitch(), pre);
          arithmetic.timesSiluSlope(pre, 0, g, history * channels, real * channels);
        }
        addSums(real);
        convolve(g, rows, reversed, 0, channels, result);
        for (int r = 0; r < rows; r++) {
          long p = t + r - history;
          if (dfinalStates != null && p >= length - history) {
            dfinalStates.copyAlong(1, channels, row, 0, b, from, p - (length - history));
            arithmetic.addScaled(1, row, 0, result, r * channels, channels);
          }
          if (p < 0 && fresh) {
            Arrays.fill(result, r * channels, (r + 1) * channels, 0);
          }
          store(b, start, p, r);
        }
        System.arraycopy(in, rows * channels, in, 0, history * channels);
        System.arraycopy(g, rows * channels, g, 0, history * channels);
      }
    }

    private void convolve(
        float[] rows, int count, float[] values, int at, int pitch, float[] into) {
      arithmetic.convolve(
          rows, 0, channels, count, width, channels, values, at, pitch, false, into, 0, channels);
    }

    private void addSums(int rows) {
      Arrays.fill(part, 0, (width + 1) * channels, 0);
      int own = history * channels;
      for (int k = 0; k < width; k++) {
        arithmetic.addColumnDots(
            g, own, channels, in, k * channels, channels, rows, channels, part, k * channels);
      }
      for (int r = 0; r < rows; r++) {
        arithmetic.addScaled(1, g, own + r * channels, part, width * channels, channels);
      }
      for (int i = 0; i < (width + 1) * channels; i++) {
        sums[i] += part[i];
      }
    }

    /** Writes dx at a position of the sequence, or dinitial at one before it. */
    private void store(long b, long start, long p, int r) {
      if (p >= 0 && dx != null) {
        arithmetic.write(
            dx.dataType(),
            result,
            r * channels,
            dx.segment(),
            dx.byteOffset(start + p, from),
            channels);
      } else if (p < 0 && dinitialStates != null) {
        dinitialStates.setAlong(1, channels, result, r * channels, b, from, p + history);
      }
    }
  }
}
