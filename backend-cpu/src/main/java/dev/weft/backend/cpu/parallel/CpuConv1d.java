package dev.weft.backend.cpu.parallel;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.HostStream;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.Conv1dKernel;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/**
 * Causal conv1d in float32. Work is cut into ranges of channels, and in forward and update into
 * sequences too: channels never meet, so the cut changes no bit of any result.
 */
final class CpuConv1d implements Conv1dKernel {
  // A range's window of rows stays in the first-level cache; a row of one is some cache lines.
  private static final int MOST_CHANNELS = 256;
  private static final int LEAST_CHANNELS = 16;

  private final CausalConv1dSpec spec;
  private final WorkPool pool;

  CpuConv1d(CausalConv1dSpec spec, WorkPool pool) {
    this.spec = spec;
    this.pool = pool;
  }

  static Support supports(CausalConv1dSpec spec) {
    return Support.yes();
  }

  @Override
  public long workspaceBytes(CausalConv1dSpec.Mode mode, Limits limits) {
    return 0;
  }

  @Override
  public BackendBinding bind(Tensor weight, @Nullable Tensor bias) {
    return new BackendBinding() {}; // read in place
  }

  @Override
  public void forward(LaunchContext context, Conv1dForward a) {
    HostStream.of(context)
        .submit("conv1d.forward", () -> convolve(new CpuConv1dForward(spec, a, taps(a.weights()))));
  }

  @Override
  public void update(LaunchContext context, Conv1dUpdate a) {
    HostStream.of(context)
        .submit("conv1d.update", () -> convolve(new CpuConv1dForward(spec, a, taps(a.weights()))));
  }

  @Override
  public void backward(LaunchContext context, Conv1dBackward a) {
    HostStream.of(context)
        .submit(
            "conv1d.backward",
            () -> {
              CpuConv1dBackward call = new CpuConv1dBackward(spec, a, taps(a.weights()));
              int range = rangeOfChannels();
              // Each range walks all sequences in order: dweight's sums have one order only.
              pool.run(
                  ranges(range),
                  task -> {
                    int from = task * range;
                    call.run(from, Math.min(range, spec.channels() - from));
                  });
            });
  }

  private void convolve(CpuConv1dForward call) {
    int range = rangeOfChannels();
    int ranges = ranges(range);
    int sequences = call.count();
    // A task takes several sequences where there are very many.
    int perTask = (int) ((((long) sequences * ranges) >>> 20) + 1);
    int groups = (sequences + perTask - 1) / perTask;
    pool.run(
        groups * ranges,
        task -> {
          int from = task % ranges * range;
          int channels = Math.min(range, spec.channels() - from);
          int first = task / ranges * perTask;
          for (int b = first; b < Math.min(first + perTask, sequences); b++) {
            call.run(b, from, channels);
          }
        });
  }

  private int rangeOfChannels() {
    int each = spec.channels() / (4 * pool.threads()) + 1;
    return Math.clamp((each + 15L) / 16 * 16, LEAST_CHANNELS, MOST_CHANNELS);
  }

  private int ranges(int range) {
    return (spec.channels() + range - 1) / range;
  }

  private Taps taps(Conv1dBinding weights) {
    int channels = spec.channels();
    int width = spec.width();
    Elements weight = Elements.of(weights.weight());
    float[][] taps = new float[width][channels];
    for (int k = 0; k < width; k++) {
      weight.copyAlong(0, channels, taps[k], 0, 0, k);
    }
    Tensor bias = weights.bias();
    float[] biases = new float[channels];
    if (bias != null) {
      Elements.of(bias).copyRow(biases, 0);
    }
    return new Taps(taps, biases);
  }

  /** The weight, one row of channels for each tap, and the bias, zeros where there is none. */
  @SuppressWarnings("ArrayRecordComponent") // lives for one launch and is compared by nobody
  record Taps(float[][] weight, float[] bias) {
    /** Sets pre = bias + the taps over a window whose oldest row is at {@code oldest}. */
    void apply(float[][] window, int oldest, int from, int channels, float[] pre) {
      System.arraycopy(bias, from, pre, 0, channels);
      for (int k = 0; k < weight.length; k++) {
        float[] row = window[(oldest + k) % weight.length];
        float[] tap = weight[k];
        for (int c = 0; c < channels; c++) {
          pre[c] += tap[from + c] * row[c];
        }
      }
    }
  }

  /** Applies the activation in place. */
  static void activate(Activation activation, float[] pre, int channels) {
    if (activation == Activation.SILU) {
      for (int c = 0; c < channels; c++) {
        pre[c] = (float) (pre[c] / (1 + Math.exp(-pre[c])));
      }
    }
  }

  /** Multiplies by the activation's derivative. */
  static void timesSlope(Activation activation, float[] pre, float[] dout, int channels) {
    if (activation == Activation.SILU) {
      for (int c = 0; c < channels; c++) {
        double s = 1 / (1 + Math.exp(-pre[c]));
        dout[c] = (float) (dout[c] * (s * (1 + pre[c] * (1 - s))));
      }
    }
  }
}
