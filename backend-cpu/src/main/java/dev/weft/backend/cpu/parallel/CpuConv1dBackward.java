package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * One backward call. A task walks all sequences for a range of channels, with windows of the last W
 * rows of x and of the gradient g at the pre-activation: token t completes dx (or, before the first
 * token, dinitial) at t - (W-1). The sums of dweight and dbias are kept in float64.
 */
final class CpuConv1dBackward {
  private final CausalConv1dSpec spec;
  private final CpuConv1d.Taps taps;
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

  CpuConv1dBackward(CausalConv1dSpec spec, Conv1dBackward a, CpuConv1d.Taps taps) {
    this.spec = spec;
    this.taps = taps;
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

  void run(int from, int channels) {
    double[][] dweightSums = new double[spec.width()][channels];
    double[] dbiasSums = new double[channels];
    for (long b = 0; b < cuSeqlens.size(0) - 1; b++) {
      sequence(b, from, channels, dweightSums, dbiasSums);
    }
    for (int c = 0; c < channels; c++) {
      for (int k = 0; k < spec.width() && dweight != null; k++) {
        double before = accumulate ? dweight.get(from + c, k) : 0;
        dweight.set(from + c, k, before + dweightSums[k][c]);
      }
      if (dbias != null) {
        dbias.set(from + c, (accumulate ? dbias.get(from + c) : 0) + dbiasSums[c]);
      }
    }
  }

  private void sequence(
      long b, int from, int channels, double[][] dweightSums, double[] dbiasSums) {
    int width = spec.width();
    int history = width - 1;
    // Clamped, so that no content of cu_seqlens leads out of the rows.
    long start = Math.clamp(cuSeqlens.getInt(b), 0, x.size(0));
    long length = Math.clamp(cuSeqlens.getInt(b + 1), start, x.size(0)) - start;
    boolean fresh =
        initialStates == null || hasInitialState == null || hasInitialState.getInt(b) == 0;
    float[] gradient = new float[channels];
    if (cacheIndices != null
        && (cacheIndices.getInt(b) == spec.padSlotId() || cacheIndices.getInt(b) < 0)) {
      for (long p = -history; p < length; p++) {
        store(b, start, p, from, channels, gradient);
      }
      return;
    }
    float[][] window = new float[width][channels];
    for (int j = 0; j < history && initialStates != null && !fresh; j++) {
      initialStates.copyAlong(1, channels, window[j], 0, b, from, j);
    }
    float[] pre = new float[channels];
    float[] row = new float[channels];
    float[][] g = new float[width][channels];
    for (long t = 0; t < length + history; t++) {
      if (t < length) {
        int oldest = (int) (t % width);
        x.copyAlong(1, channels, window[(oldest + history) % width], 0, start + t, from);
        taps.apply(window, oldest, from, channels, pre);
        float[] newest = g[(int) (t % width)];
        dout.copyAlong(1, channels, newest, 0, start + t, from);
        CpuConv1d.timesSlope(spec.activation(), pre, newest, channels);
        for (int k = 0; k < width; k++) {
          float[] input = window[(oldest + k) % width];
          double[] sums = dweightSums[k];
          for (int c = 0; c < channels; c++) {
            sums[c] += (double) newest[c] * input[c];
          }
        }
        for (int c = 0; c < channels; c++) {
          dbiasSums[c] += newest[c];
        }
      }
      long p = t - history;
      Arrays.fill(gradient, 0);
      // The tokens within the sequence that read position p.
      for (long reader = Math.max(p, 0); reader <= Math.min(t, length - 1); reader++) {
        float[] tap = taps.weight()[(int) (history - (reader - p))];
        float[] readerGradient = g[(int) (reader % width)];
        for (int c = 0; c < channels; c++) {
          gradient[c] += tap[from + c] * readerGradient[c];
        }
      }
      if (dfinalStates != null && p >= length - history) {
        dfinalStates.copyAlong(1, channels, row, 0, b, from, p - (length - history));
        for (int c = 0; c < channels; c++) {
          gradient[c] += row[c];
        }
      }
      if (p < 0 && fresh) {
        Arrays.fill(gradient, 0);
      }
      store(b, start, p, from, channels, gradient);
    }
  }

  /** Writes dx at a position of the sequence, or dinitial at one before it. */
  private void store(long b, long start, long p, int from, int channels, float[] gradient) {
    if (p >= 0 && dx != null) {
      dx.setAlong(1, channels, gradient, 0, start + p, from);
    } else if (p < 0 && dinitialStates != null) {
      dinitialStates.setAlong(1, channels, gradient, 0, b, from, p + spec.width() - 1);
    }
  }
}
