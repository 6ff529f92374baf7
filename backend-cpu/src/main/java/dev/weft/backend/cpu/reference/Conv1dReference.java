package dev.weft.backend.cpu.reference;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.HostStream;
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
 * Causal conv1d as the formulas say it. With x~ the history of W-1 inputs followed by the tokens:
 *
 * <pre>
 * pre[t] = bias + sum_k weight[k] x~[t + k]          k = 0 .. W-1
 * out[t] = pre[t], or silu(pre[t]) = pre[t] s(pre[t])  with s the logistic function
 * g[t]   = dout[t] f'(pre[t])
 * dx~[p] = sum_k weight[k] g[p - k]  (0 <= p - k < L)  + dfinal[p - L] where p >= L
 * dweight[k] = sum_t g[t] x~[t + k],  dbias = sum_t g[t]
 * </pre>
 *
 * dx~ is dinitial (its first W-1 values) followed by dx.
 */
final class Conv1dReference implements Conv1dKernel {
  private final CausalConv1dSpec spec;

  Conv1dReference(CausalConv1dSpec spec) {
    this.spec = spec;
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
        .submit(
            "conv1d.forward",
            () -> {
              Conv1dSequences sequences = Conv1dSequences.of(spec, a);
              Tensor initial = a.initialStatesOut();
              if (initial != null) {
                copyHistories(sequences, Elements.of(initial));
              }
              convolve(sequences, a.weights(), a.states(), Elements.of(a.out()));
            });
  }

  @Override
  public void update(LaunchContext context, Conv1dUpdate a) {
    HostStream.of(context)
        .submit(
            "conv1d.update",
            () ->
                convolve(
                    Conv1dSequences.of(spec, a), a.weights(), a.states(), Elements.of(a.out())));
  }

  @Override
  public void backward(LaunchContext context, Conv1dBackward a) {
    HostStream.of(context).submit("conv1d.backward", () -> backward(a));
  }

  static double activate(Activation activation, double pre) {
    return activation == Activation.NONE ? pre : pre / (1 + Math.exp(-pre));
  }

  /** The activation's derivative. */
  static double slope(Activation activation, double pre) {
    if (activation == Activation.NONE) {
      return 1;
    }
    double s = 1 / (1 + Math.exp(-pre));
    double complement = 1 / (1 + Math.exp(pre)); // 1 - s, without its cancellation
    return s * (1 + pre * complement);
  }

  private void copyHistories(Conv1dSequences sequences, Elements out) {
    for (int b = 0; b < sequences.count(); b++) {
      for (int c = 0; c < spec.channels(); c++) {
        for (int j = 0; j < spec.width() - 1; j++) {
          out.set(b, c, j, sequences.history(b, c, j));
        }
      }
    }
  }

  private void convolve(
      Conv1dSequences sequences, Conv1dBinding weights, @Nullable Tensor states, Elements out) {
    Elements weight = Elements.of(weights.weight());
    Tensor biasTensor = weights.bias();
    Elements bias = biasTensor == null ? null : Elements.of(biasTensor);
    Elements slots = states == null ? null : Elements.of(states);
    for (int b = 0; b < sequences.count(); b++) {
      for (int c = 0; c < spec.channels(); c++) {
        // Everything is read before anything is written: out may be x, and states are in place.
        double[] extended = sequences.extended(b, c);
        double[] after = new double[0];
        if (slots != null && !sequences.skipped(b)) {
          after = sequences.slotAfter(b, c, extended);
        }
        for (int t = 0; t < sequences.length(b); t++) {
          double value = 0;
          if (!sequences.skipped(b)) {
            double pre = bias == null ? 0 : bias.get(c);
            for (int k = 0; k < spec.width(); k++) {
              pre += weight.get(c, k) * extended[t + k];
            }
            value = activate(spec.activation(), pre);
          }
          sequences.setOut(out, b, t, c, value);
        }
        // A slot that keeps its content is not written at all.
        if (slots != null && sequences.length(b) > 0) {
          for (int s = 0; s < after.length; s++) {
            slots.set(sequences.slot(b), c, s, after[s]);
          }
        }
      }
    }
  }

  private void backward(Conv1dBackward a) {
    Conv1dGradients gradients = new Conv1dGradients(spec, a);
    int width = spec.width();
    for (int c = 0; c < spec.channels(); c++) {
      double[] weight = gradients.weight(c);
      double[] dweight = gradients.dweightBefore(c);
      double dbias = gradients.dbiasBefore(c);
      for (int b = 0; b < gradients.count(); b++) {
        int length = gradients.length(b);
        double[] dextended = new double[width - 1 + length];
        if (!gradients.skipped(b)) {
          double[] extended = gradients.extended(b, c);
          double[] g = new double[length];
          for (int t = 0; t < length; t++) {
            double pre = gradients.bias(c);
            for (int k = 0; k < width; k++) {
              pre += weight[k] * extended[t + k];
            }
            g[t] = gradients.dout(b, t, c) * slope(spec.activation(), pre);
            for (int k = 0; k < width; k++) {
              dweight[k] += g[t] * extended[t + k];
              dextended[t + k] += g[t] * weight[k];
            }
            dbias += g[t];
          }
          for (int j = 0; j < width - 1; j++) {
            dextended[length + j] += gradients.dfinal(b, c, j);
          }
        }
        gradients.store(b, c, dextended);
      }
      gradients.storeParameters(c, dweight, dbias);
    }
  }
}
