package com.example.weft;

import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * One backward launch (docs/semantics.md, section 3). With x~ the history followed by the tokens
 * and g = dout f'(pre), every tap k of every token t gives g[t] x~[t + k] to dweight[k] and g[t]
 * weight[k] to the gradient of x~[t + k], whose first W - 1 values are dinitial and whose others
 * are dx.
 */
final class Gradient {
  private final CausalConv1dSpec spec;
  private final boolean accumulate;
  private final Elements weight;
  private final @Nullable Elements bias;
  private final Elements x;
  private final Elements cuSeqlens;
  private final Elements dout;
  private final @Nullable Elements cacheIndices;
  private final @Nullable Elements initialStates;
  private final @Nullable Elements hasInitialState;
  private final @Nullable Elements dfinalStates;
  private final @Nullable Elements dx;
  private final @Nullable Elements dweight;
  private final @Nullable Elements dbias;
  private final @Nullable Elements dinitialStates;

  Gradient(CausalConv1dSpec spec, Conv1dBackward a) {
    this.spec = spec;
    accumulate = a.accumulate();
    weight = Elements.of(a.weights().weight());
    bias = Elements.ofOptional(a.weights().bias());
    x = Elements.of(a.x());
    cuSeqlens = Elements.of(a.cuSeqlens());
    dout = Elements.of(a.dout());
    cacheIndices = Elements.ofOptional(a.cacheIndices());
    initialStates = Elements.ofOptional(a.initialStates());
    hasInitialState = Elements.ofOptional(a.hasInitialState());
    dfinalStates = Elements.ofOptional(a.dfinalStates());
    dx = Elements.ofOptional(a.dx());
    dweight = Elements.ofOptional(a.dweight());
    dbias = Elements.ofOptional(a.dbias());
    dinitialStates = Elements.ofOptional(a.dinitialStates());
  }

  void run() {
    IntStream.range(0, spec.channels()).parallel().forEach(this::channel);
  }

  /** The sums over tokens go through the sequences in order, the same on every run. */
  private void channel(int c) {
    double[] taps = new double[spec.width()];
    double[] tapSums = new double[spec.width()];
    for (int k = 0; k < taps.length; k++) {
      taps[k] = weight.get(c, k);
      tapSums[k] = accumulate && dweight != null ? dweight.get(c, k) : 0;
    }
    double offset = bias == null ? 0 : bias.get(c);
    double offsetSum = accumulate && dbias != null ? dbias.get(c) : 0;
    for (int b = 0; b < cuSeqlens.size(0) - 1; b++) {
      offsetSum += sequence(b, c, taps, offset, tapSums);
    }
    for (int k = 0; k < taps.length && dweight != null; k++) {
      dweight.set(tapSums[k], c, k);
    }
    if (dbias != null) {
      dbias.set(offsetSum, c);
    }
  }

  /** Adds to the sums of the taps, and returns what the bias gets. */
  private double sequence(int b, int c, double[] taps, double offset, double[] tapSums) {
    int begin = Math.clamp(cuSeqlens.integer(b), 0, x.size(0));
    int length = Math.clamp(cuSeqlens.integer(b + 1), begin, x.size(0)) - begin;
    int history = taps.length - 1;
    boolean fresh = hasInitialState == null || hasInitialState.integer(b) == 0;
    double[] dextended = new double[history + length];
    double sum = 0;
    if (!isPad(b)) {
      double[] extended = new double[history + length];
      for (int j = 0; j < history && initialStates != null && !fresh; j++) {
        extended[j] = initialStates.get(b, c, j);
      }
      for (int t = 0; t < length; t++) {
        extended[history + t] = x.get(begin + t, c);
      }
      for (int t = 0; t < length; t++) {
        double pre = ExampleConv1d.preactivation(taps, offset, extended, t);
        double g = dout.get(begin + t, c) * slope(pre);
        for (int k = 0; k < taps.length; k++) {
          tapSums[k] += g * extended[t + k];
          dextended[t + k] += g * taps[k];
        }
        sum += g;
      }
      for (int j = 0; j < history && dfinalStates != null; j++) {
        dextended[length + j] += dfinalStates.get(b, c, j);
      }
    }
    for (int j = 0; j < history && dinitialStates != null; j++) {
      dinitialStates.set(fresh ? 0 : dextended[j], b, c, j);
    }
    for (int t = 0; t < length && dx != null; t++) {
      dx.set(dextended[history + t], begin + t, c);
    }
    return sum;
  }

  private boolean isPad(int b) {
    return cacheIndices != null
        && (cacheIndices.integer(b) == spec.padSlotId() || cacheIndices.integer(b) < 0);
  }

  /** The activation's derivative: s (1 + pre (1 - s)) with the logistic function s. */
  private double slope(double pre) {
    if (spec.activation() == Activation.NONE) {
      return 1;
    }
    // 1 - s is computed as s(-pre): it would cancel where s is nearly 1.
    return (1 + pre / (1 + Math.exp(pre))) / (1 + Math.exp(-pre));
  }
}
