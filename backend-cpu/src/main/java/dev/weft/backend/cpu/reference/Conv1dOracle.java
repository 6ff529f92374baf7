package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.spi.Expected;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Causal conv1d with the bounds of the tolerance law. The convolution is one sum of W products (and
 * the bias); SiLU and its derivative follow the rule for functions; states are bit for bit; what a
 * skipped sequence must give is exactly zero.
 */
final class Conv1dOracle {
  private Conv1dOracle() {}

  static Map<String, Expected> forward(CausalConv1dSpec spec, Conv1dForward arguments) {
    Conv1dSequences sequences = Conv1dSequences.of(spec, arguments);
    Map<String, Expected> result = new LinkedHashMap<>();
    result.put("out", out(spec, sequences, arguments.weights(), arguments.out()));
    Tensor states = arguments.states();
    if (states != null) {
      result.put("states", states(spec, sequences, states));
    }
    if (arguments.initialStatesOut() != null) {
      result.put("initialStatesOut", histories(spec, sequences));
    }
    return result;
  }

  static Map<String, Expected> update(CausalConv1dSpec spec, Conv1dUpdate arguments) {
    Conv1dSequences sequences = Conv1dSequences.of(spec, arguments);
    Map<String, Expected> result = new LinkedHashMap<>();
    result.put("out", out(spec, sequences, arguments.weights(), arguments.out()));
    result.put("states", states(spec, sequences, arguments.states()));
    return result;
  }

  static Map<String, Expected> backward(CausalConv1dSpec spec, Conv1dBackward a) {
    Conv1dGradients given = new Conv1dGradients(spec, a);
    Output dx = new Output(size(a.x()));
    Output dinitial = new Output(given.count() * (long) spec.channels() * (spec.width() - 1));
    Output dweight = new Output((long) spec.channels() * spec.width());
    Output dbias = new Output(spec.channels());
    dx.leaveUnwritten();
    for (int c = 0; c < spec.channels(); c++) {
      backward(spec, given, c, a.accumulate(), dx, dinitial, dweight, dbias);
    }
    ToleranceLaw parameters = ToleranceLaw.of(spec.gradientType());
    Map<String, Expected> result = new LinkedHashMap<>();
    if (a.dx() != null) {
      result.put("dx", dx.expected(ToleranceLaw.of(spec.dataType())));
    }
    if (a.dweight() != null) {
      result.put("dweight", dweight.expected(parameters));
    }
    if (a.dbias() != null) {
      result.put("dbias", dbias.expected(parameters));
    }
    if (a.dinitialStates() != null) {
      result.put("dinitialStates", dinitial.expected(ToleranceLaw.of(spec.stateType())));
    }
    return result;
  }

  /** An output while it is computed; elements are computed, exact or unwritten. */
  private static final class Output {
    private final double[] value;
    private final double[] error;
    private final double[] rms;
    // NaN: unwritten; 0: exact; 1: to be stored under the law.
    private final double[] kind;

    Output(long size) {
      int n = Math.toIntExact(size);
      value = new double[n];
      error = new double[n];
      rms = new double[n];
      kind = new double[n];
    }

    /** Marks all elements as unwritten, until they are set. */
    void leaveUnwritten() {
      Arrays.fill(kind, Double.NaN);
    }

    void exact(long index, double v) {
      int i = Math.toIntExact(index);
      value[i] = v;
      kind[i] = 0;
    }

    void computed(long index, double v, double e, double r) {
      int i = Math.toIntExact(index);
      value[i] = v;
      error[i] = e;
      rms[i] = r;
      kind[i] = 1;
    }

    void computed(long index, StageSum sum) {
      computed(index, sum.value(), sum.error(), sum.rms());
    }

    Expected expected(ToleranceLaw law) {
      law.output(value, error, rms);
      for (int i = 0; i < kind.length; i++) {
        if (kind[i] != 1) {
          error[i] = kind[i];
          rms[i] = 0;
        }
      }
      return new Expected(value, error, rms);
    }
  }

  private static Expected out(
      CausalConv1dSpec spec, Conv1dSequences sequences, Conv1dBinding weights, Tensor out) {
    Elements weight = Elements.of(weights.weight());
    Tensor biasTensor = weights.bias();
    Elements bias = biasTensor == null ? null : Elements.of(biasTensor);
    Output result = new Output(size(out));
    result.leaveUnwritten();
    StageSum pre = new StageSum();
    for (int b = 0; b < sequences.count(); b++) {
      for (int c = 0; c < spec.channels(); c++) {
        double[] extended = sequences.skipped(b) ? null : sequences.extended(b, c);
        for (int t = 0; t < sequences.length(b); t++) {
          long index = sequences.row(b, t) * spec.channels() + c;
          if (extended == null) {
            result.exact(index, 0);
            continue;
          }
          pre.clear();
          for (int k = 0; k < spec.width(); k++) {
            pre.add(weight.get(c, k), extended[t + k]);
          }
          if (bias != null) {
            pre.add(1, bias.get(c));
          }
          if (spec.activation() == Activation.NONE) {
            result.computed(index, pre);
          } else {
            double value = Conv1dReference.activate(spec.activation(), pre.value());
            double function = ToleranceLaw.FUNCTION * Math.abs(value);
            result.computed(
                index,
                value,
                steepest(pre.value(), pre.error()) * pre.error() + function,
                steepest(pre.value(), pre.rms()) * pre.rms() + function);
          }
        }
      }
    }
    return result.expected(ToleranceLaw.of(spec.dataType()));
  }

  /** The states after the call, whole. */
  private static Expected states(CausalConv1dSpec spec, Conv1dSequences sequences, Tensor states) {
    Elements before = Elements.of(states);
    int slots = Math.toIntExact(states.size(0));
    int channels = spec.channels();
    int columns = sequences.columns();
    double[] value = new double[Math.toIntExact(size(states))];
    for (int slot = 0; slot < slots; slot++) {
      for (int c = 0; c < channels; c++) {
        for (int s = 0; s < columns; s++) {
          value[(slot * channels + c) * columns + s] = before.get(slot, c, s);
        }
      }
    }
    for (int b = 0; b < sequences.count(); b++) {
      if (sequences.skipped(b)) {
        continue;
      }
      int slot = Math.toIntExact(sequences.slot(b));
      for (int c = 0; c < channels; c++) {
        double[] after = sequences.slotAfter(b, c, sequences.extended(b, c));
        for (int s = 0; s < columns; s++) {
          value[(slot * channels + c) * columns + s] = spec.stateType().round(after[s]);
        }
      }
    }
    return Expected.exact(value);
  }

  private static Expected histories(CausalConv1dSpec spec, Conv1dSequences sequences) {
    int channels = spec.channels();
    int columns = spec.width() - 1;
    double[] value = new double[sequences.count() * channels * columns];
    for (int b = 0; b < sequences.count(); b++) {
      for (int c = 0; c < channels; c++) {
        for (int j = 0; j < columns; j++) {
          value[(b * channels + c) * columns + j] = sequences.history(b, c, j);
        }
      }
    }
    return Expected.exact(value);
  }

  private static void backward(
      CausalConv1dSpec spec,
      Conv1dGradients given,
      int c,
      boolean accumulate,
      Output dx,
      Output dinitial,
      Output dweight,
      Output dbias) {
    int width = spec.width();
    double[] weight = given.weight(c);
    StageSum[] weightSums = new StageSum[width];
    double[] weightBefore = given.dweightBefore(c);
    for (int k = 0; k < width; k++) {
      weightSums[k] = new StageSum();
      if (accumulate) {
        weightSums[k].add(weightBefore[k], 1);
      }
    }
    StageSum biasSum = new StageSum();
    if (accumulate) {
      biasSum.add(given.dbiasBefore(c), 1);
    }
    for (int b = 0; b < given.count(); b++) {
      int length = given.length(b);
      Gradient[] g = given.skipped(b) ? null : gradients(spec, given, weight, b, c);
      double[] extended = given.extended(b, c);
      for (int t = 0; t < length && g != null; t++) {
        for (int k = 0; k < width; k++) {
          weightSums[k].add(g[t].value, g[t].error, g[t].rms, extended[t + k]);
        }
        biasSum.add(g[t].value, g[t].error, g[t].rms, 1);
      }
      StageSum sum = new StageSum();
      for (int p = 0; p < width - 1 + length; p++) {
        boolean initial = p < width - 1;
        Output target = initial ? dinitial : dx;
        long index =
            initial
                ? ((long) b * spec.channels() + c) * (width - 1) + p
                : given.row(b, p - (width - 1)) * spec.channels() + c;
        if (g == null || (initial && given.fresh(b))) {
          target.exact(index, 0);
        } else if (length == 0) {
          target.exact(index, given.dfinal(b, c, p)); // passed on, in one type
        } else {
          sum.clear();
          for (int k = Math.max(0, p - length + 1); k < width && k <= p; k++) {
            Gradient from = g[p - k];
            sum.add(from.value, from.error, from.rms, weight[k]);
          }
          if (p >= length && given.hasDfinal()) {
            sum.add(given.dfinal(b, c, p - length), 1);
          }
          target.computed(index, sum);
        }
      }
    }
    for (int k = 0; k < width; k++) {
      dweight.computed((long) c * width + k, weightSums[k]);
    }
    dbias.computed(c, biasSum);
  }

  /** A gradient at the pre-activation, with its bounds. */
  private record Gradient(double value, double error, double rms) {}

  private static Gradient[] gradients(
      CausalConv1dSpec spec, Conv1dGradients given, double[] weight, int b, int c) {
    double[] extended = given.extended(b, c);
    Gradient[] result = new Gradient[given.length(b)];
    StageSum sum = new StageSum();
    for (int t = 0; t < result.length; t++) {
      double dout = given.dout(b, t, c);
      if (spec.activation() == Activation.NONE) {
        result[t] = new Gradient(dout, 0, 0);
        continue;
      }
      sum.clear();
      for (int k = 0; k < weight.length; k++) {
        sum.add(weight[k], extended[t + k]);
      }
      if (given.hasBias()) {
        sum.add(1, given.bias(c));
      }
      double slope = Conv1dReference.slope(spec.activation(), sum.value());
      double function = ToleranceLaw.FUNCTION * Math.abs(slope);
      double error = CURVATURE * sum.error() + function;
      double rms = CURVATURE * sum.rms() + function;
      sum.clear().add(slope, error, rms, dout);
      result[t] = new Gradient(sum.value(), sum.error(), sum.rms());
    }
    return result;
  }

  // The largest |silu''|, at 0.
  private static final double CURVATURE = 0.5;
  // The largest |silu'|, at about 2.4, rounded up.
  private static final double SLOPE = 1.1;

  /** A bound of |silu'| within an error of x. */
  private static double steepest(double x, double error) {
    double slope = Math.abs(Conv1dReference.slope(Activation.SILU, x));
    return Math.min(SLOPE, slope + CURVATURE * error);
  }

  private static long size(@Nullable Tensor tensor) {
    return tensor == null ? 0 : tensor.elements();
  }
}
