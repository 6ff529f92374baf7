package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import org.jspecify.annotations.Nullable;

/**
 * What a backward call reads and writes, sequence by sequence and channel by channel. Outputs that
 * were not asked for are dropped. A sequence is skipped as in forward if its cache index is the pad
 * id or negative (the number of slots is not known here).
 */
final class Conv1dGradients {
  private final CausalConv1dSpec spec;
  private final boolean accumulate;
  private final Elements weight;
  private final @Nullable Elements bias;
  private final Elements x;
  private final Elements dout;
  private final @Nullable Elements initialStates;
  private final @Nullable Elements dfinalStates;
  private final @Nullable Elements dx;
  private final @Nullable Elements dweight;
  private final @Nullable Elements dbias;
  private final @Nullable Elements dinitialStates;
  private final int count;
  private final long[] starts;
  private final int[] lengths;
  private final boolean[] skipped;
  private final boolean[] fresh;

  Conv1dGradients(CausalConv1dSpec spec, Conv1dBackward a) {
    this.spec = spec;
    accumulate = a.accumulate();
    weight = Elements.of(a.weights().weight());
    bias = elements(a.weights().bias());
    x = Elements.of(a.x());
    dout = Elements.of(a.dout());
    initialStates = elements(a.initialStates());
    dfinalStates = elements(a.dfinalStates());
    dx = elements(a.dx());
    dweight = elements(a.dweight());
    dbias = elements(a.dbias());
    dinitialStates = elements(a.dinitialStates());
    Elements cu = Elements.of(a.cuSeqlens());
    Elements indices = elements(a.cacheIndices());
    Elements initial = elements(a.hasInitialState());
    count = Math.toIntExact(cu.size(0) - 1);
    starts = new long[count];
    lengths = new int[count];
    skipped = new boolean[count];
    fresh = new boolean[count];
    for (int b = 0; b < count; b++) {
      starts[b] = Math.clamp(cu.getInt(b), 0, x.size(0));
      lengths[b] = Math.toIntExact(Math.clamp(cu.getInt(b + 1L), starts[b], x.size(0)) - starts[b]);
      skipped[b] =
          indices != null && (indices.getInt(b) == spec.padSlotId() || indices.getInt(b) < 0);
      fresh[b] = initial == null || initial.getInt(b) == 0;
    }
  }

  int count() {
    return count;
  }

  int length(int b) {
    return lengths[b];
  }

  boolean skipped(int b) {
    return skipped[b];
  }

  /** Tells whether a sequence started from zeros, which have no gradient. */
  boolean fresh(int b) {
    return fresh[b];
  }

  /** Returns the row of a token in x, dout and dx. */
  long row(int b, int t) {
    return starts[b] + t;
  }

  double[] weight(int channel) {
    double[] result = new double[spec.width()];
    for (int k = 0; k < result.length; k++) {
      result[k] = weight.get(channel, k);
    }
    return result;
  }

  double bias(int channel) {
    return bias == null ? 0 : bias.get(channel);
  }

  boolean hasBias() {
    return bias != null;
  }

  /** Returns a channel's history followed by its tokens: W-1 + L values. */
  double[] extended(int b, int channel) {
    int history = spec.width() - 1;
    double[] result = new double[history + lengths[b]];
    for (int j = 0; j < history && initialStates != null && !fresh[b]; j++) {
      result[j] = initialStates.get(b, channel, j);
    }
    for (int t = 0; t < lengths[b]; t++) {
      result[history + t] = x.get(row(b, t), channel);
    }
    return result;
  }

  double dout(int b, int t, int channel) {
    return dout.get(row(b, t), channel);
  }

  double dfinal(int b, int channel, int j) {
    return dfinalStates == null ? 0 : dfinalStates.get(b, channel, j);
  }

  boolean hasDfinal() {
    return dfinalStates != null;
  }

  /** Returns what the sums of a channel's dweight start from: zeros unless accumulating. */
  double[] dweightBefore(int channel) {
    double[] result = new double[spec.width()];
    for (int k = 0; k < result.length && accumulate && dweight != null; k++) {
      result[k] = dweight.get(channel, k);
    }
    return result;
  }

  /** Returns what the sum of a channel's dbias starts from: zero unless accumulating. */
  double dbiasBefore(int channel) {
    return accumulate && dbias != null ? dbias.get(channel) : 0;
  }

  /** Writes dinitial and dx of one sequence and channel. */
  void store(int b, int channel, double[] dextended) {
    int history = spec.width() - 1;
    for (int j = 0; j < history && dinitialStates != null; j++) {
      dinitialStates.set(b, channel, j, fresh[b] ? 0 : dextended[j]);
    }
    for (int t = 0; t < lengths[b] && dx != null; t++) {
      dx.set(row(b, t), channel, dextended[history + t]);
    }
  }

  void storeParameters(int channel, double[] dweightSums, double dbiasSum) {
    for (int k = 0; k < dweightSums.length && dweight != null; k++) {
      dweight.set(channel, k, dweightSums[k]);
    }
    if (dbias != null) {
      dbias.set(channel, dbiasSum);
    }
  }

  private static @Nullable Elements elements(@Nullable Tensor tensor) {
    return tensor == null ? null : Elements.of(tensor);
  }
}
