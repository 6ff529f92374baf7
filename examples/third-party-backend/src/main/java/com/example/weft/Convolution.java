package com.example.weft;

import dev.weft.Tensor;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * One forward or update launch (docs/semantics.md, section 3). For each sequence b and channel c:
 * read the history that the slot holds, append the tokens, convolve, write back what the slot holds
 * afterwards. Channels are independent, so they run in parallel and the result does not depend on
 * how many threads there are.
 *
 * <p>Lengths, slots and positions are device values: they may be anything, and what is out of range
 * is skipped.
 */
final class Convolution {
  private final CausalConv1dSpec spec;
  private final Elements weight;
  private final @Nullable Elements bias;
  private final Elements x;
  private final Elements out;
  private final @Nullable Elements cuSeqlens;
  private final @Nullable Elements states;
  private final @Nullable Elements cacheIndices;
  private final @Nullable Elements hasInitialState;
  private final @Nullable Elements cacheSeqlens;
  private final @Nullable Elements numAccepted;
  private final @Nullable Elements initialStatesOut;

  Convolution(CausalConv1dSpec spec, Conv1dForward a) {
    this(
        spec,
        a.weights(),
        a.x(),
        a.out(),
        a.cuSeqlens(),
        a.states(),
        a.cacheIndices(),
        a.hasInitialState(),
        a.cacheSeqlens(),
        null,
        a.initialStatesOut());
  }

  Convolution(CausalConv1dSpec spec, Conv1dUpdate a) {
    this(
        spec,
        a.weights(),
        a.x(),
        a.out(),
        a.cuSeqlens(),
        a.states(),
        a.cacheIndices(),
        null,
        a.cacheSeqlens(),
        a.numAccepted(),
        null);
  }

  private Convolution(
      CausalConv1dSpec spec,
      Conv1dBinding weights,
      Tensor x,
      Tensor out,
      @Nullable Tensor cuSeqlens,
      @Nullable Tensor states,
      @Nullable Tensor cacheIndices,
      @Nullable Tensor hasInitialState,
      @Nullable Tensor cacheSeqlens,
      @Nullable Tensor numAccepted,
      @Nullable Tensor initialStatesOut) {
    this.spec = spec;
    this.weight = Elements.of(weights.weight());
    this.bias = Elements.ofOptional(weights.bias());
    this.x = Elements.of(x);
    this.out = Elements.of(out);
    this.cuSeqlens = Elements.ofOptional(cuSeqlens);
    this.states = Elements.ofOptional(states);
    this.cacheIndices = Elements.ofOptional(cacheIndices);
    this.hasInitialState = Elements.ofOptional(hasInitialState);
    this.cacheSeqlens = Elements.ofOptional(cacheSeqlens);
    this.numAccepted = Elements.ofOptional(numAccepted);
    this.initialStatesOut = Elements.ofOptional(initialStatesOut);
  }

  void run() {
    IntStream.range(0, spec.channels()).parallel().forEach(this::channel);
  }

  /** How the slot of a sequence is read and written. */
  private enum Form {
    /** No states at all: zeros in, nothing out. */
    NONE,
    /** The last inputs, oldest first. */
    SHIFTING,
    /** Position p lies in column p mod S. */
    RING,
    /** As shifting, with the history at a column that num_accepted names. */
    SPECULATIVE
  }

  private Form form() {
    if (states == null) {
      return Form.NONE;
    }
    if (cacheSeqlens != null) {
      return Form.RING;
    }
    return numAccepted != null ? Form.SPECULATIVE : Form.SHIFTING;
  }

  private void channel(int c) {
    double[] taps = new double[spec.width()];
    for (int k = 0; k < taps.length; k++) {
      taps[k] = weight.get(c, k);
    }
    double offset = bias == null ? 0 : bias.get(c);
    int sequences = cuSeqlens == null ? x.size(0) : cuSeqlens.size(0) - 1;
    for (int b = 0; b < sequences; b++) {
      sequence(b, c, taps, offset);
    }
  }

  private void sequence(int b, int c, double[] taps, double offset) {
    int begin = 0;
    int length;
    if (cuSeqlens == null) {
      length = x.size(1);
    } else {
      begin = Math.clamp(cuSeqlens.integer(b), 0, x.size(0));
      length = Math.clamp(cuSeqlens.integer(b + 1), begin, x.size(0)) - begin;
    }
    boolean skipped = isSkipped(b, length);
    boolean fresh = hasInitialState != null && hasInitialState.integer(b) == 0;
    int slot = cacheIndices == null || skipped ? 0 : cacheIndices.integer(b);
    int history = taps.length - 1;

    // All is read before anything is written: out may be x, and states are updated in place.
    double[] extended = new double[history + length];
    for (int j = 0; j < history && !skipped && !fresh; j++) {
      extended[j] = history(b, slot, c, j);
    }
    for (int t = 0; t < length; t++) {
      extended[history + t] = x.rank() == 3 ? x.get(b, t, c) : x.get(begin + t, c);
    }
    for (int j = 0; j < history && initialStatesOut != null; j++) {
      initialStatesOut.set(extended[j], b, c, j);
    }
    for (int t = 0; t < length; t++) {
      double value = skipped ? 0 : activate(ExampleConv1d.preactivation(taps, offset, extended, t));
      if (out.rank() == 3) {
        out.set(value, b, t, c);
      } else {
        out.set(value, begin + t, c);
      }
    }
    if (states != null && !skipped && length > 0) {
      store(states, b, slot, c, extended, length, fresh);
    }
  }

  private boolean isSkipped(int b, int length) {
    if (cacheIndices == null || states == null) {
      return false;
    }
    int slot = cacheIndices.integer(b);
    if (slot == spec.padSlotId() || slot < 0 || slot >= states.size(0)) {
      return true;
    }
    if (numAccepted == null) {
      return false;
    }
    long accepted = numAccepted.integer(b);
    long columns = states.size(2);
    return accepted < 1
        || accepted + spec.width() - 2 > columns
        || spec.width() - 2L + length > columns;
  }

  /** Value j of the W - 1 before the first token. */
  private double history(int b, int slot, int c, int j) {
    if (states == null) {
      return 0;
    }
    int columns = states.size(2);
    int history = spec.width() - 1;
    long column =
        switch (form()) {
          case RING -> Math.floorMod(position(b) - history + j, (long) columns);
          case SPECULATIVE -> accepted(b) - 1 + j;
          case SHIFTING, NONE -> columns - history + j;
        };
    return states.get(slot, c, column);
  }

  private void store(
      Elements slots, int b, int slot, int c, double[] extended, int length, boolean fresh) {
    int columns = slots.size(2);
    int history = spec.width() - 1;
    double[] column = new double[columns];
    for (int s = 0; s < columns && !fresh; s++) {
      column[s] = slots.get(slot, c, s);
    }
    switch (form()) {
      case NONE -> {}
      case RING -> {
        for (int t = 0; t < length; t++) {
          column[(int) Math.floorMod(position(b) + t, (long) columns)] = extended[history + t];
        }
      }
      case SPECULATIVE -> System.arraycopy(extended, 1, column, 0, history - 1 + length);
      case SHIFTING -> {
        // The S old columns and the L tokens in a row; the last S of them stay.
        double[] shifted = new double[columns];
        for (int s = 0; s < columns; s++) {
          int from = s + length;
          shifted[s] = from < columns ? column[from] : extended[history + from - columns];
        }
        column = shifted;
      }
    }
    for (int s = 0; s < columns; s++) {
      slots.set(column[s], slot, c, s);
    }
  }

  private long position(int b) {
    return cacheSeqlens == null ? 0 : cacheSeqlens.integer(b);
  }

  private long accepted(int b) {
    return numAccepted == null ? 0 : numAccepted.integer(b);
  }

  private double activate(double pre) {
    return spec.activation() == Activation.SILU ? pre / (1 + Math.exp(-pre)) : pre;
  }
}
