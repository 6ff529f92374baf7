package dev.weft.conv1d;

import static dev.weft.DataType.I32;
import static dev.weft.DataType.U8;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Kernel;
import dev.weft.Launch;
import dev.weft.Limits;
import dev.weft.Prepared;
import dev.weft.Sequences;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.spi.Conv1dKernel;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * Causal depthwise convolution on a device. Every launch enqueues and returns.
 *
 * <p>{@code out[t, c] = act(bias[c] + sum over k of weight[c, k] * x[t - (W-1) + k, c])}, where
 * rows before a sequence's start come from its state, or are zero. Sums are F32 or better; states
 * are bit-exact copies of inputs.
 */
public final class CausalConv1d extends Kernel<Conv1dKernel> {
  private final CausalConv1dSpec spec;

  CausalConv1d(Prepared prepared, CausalConv1dSpec spec) {
    super(prepared, Conv1dKernel.class);
    this.spec = spec;
  }

  /**
   * Returns what this was prepared for.
   *
   * @return the spec
   */
  public CausalConv1dSpec spec() {
    return spec;
  }

  @Override
  public long workspaceBytes(Limits limits) {
    long most = 0;
    for (Mode mode : spec.modes()) {
      most = Math.max(most, workspaceBytes(mode, limits));
    }
    return most;
  }

  /**
   * Returns the scratch memory that launches of one mode need at most. Pure.
   *
   * @param mode the mode
   * @param limits the most tokens and sequences
   * @return bytes
   * @throws IllegalArgumentException if the spec lacks the mode
   */
  public long workspaceBytes(Mode mode, Limits limits) {
    requireMode(Launch.of("workspaceBytes"), mode);
    return bytes("Conv1dKernel.workspaceBytes", k -> k.workspaceBytes(mode, limits));
  }

  /**
   * Binds a weight and bias, once for many launches.
   *
   * @param weight [C, W] of the weight type
   * @param bias [C] of the weight type; null iff the spec has no bias
   * @return the binding, to be closed
   */
  public Conv1dBinding bind(Tensor weight, @Nullable Tensor bias) {
    DataType type = spec.weightType();
    Launch check =
        Launch.of("conv1d.bind")
            .read("weight", weight, type, spec.channels(), spec.width())
            .read("bias", bias, type, spec.channels())
            .require(
                (bias != null) == spec.bias(),
                () ->
                    "bias: the spec has "
                        + (spec.bias() ? "one" : "none")
                        + ", but it was "
                        + bias);
    return new Conv1dBinding(this, check, weight, bias, () -> backend().bind(weight, bias));
  }

  /**
   * Enqueues a convolution of packed sequences.
   *
   * @param stream orders it
   * @param a the tensors
   * @throws IllegalArgumentException naming the tensor that does not fit, before anything is
   *     enqueued
   */
  public void forward(Stream stream, Conv1dForward a) {
    Launch launch = start("conv1d.forward", Mode.FORWARD, a.weights());
    long tokens = rows(launch, a.x());
    long sequences = Sequences.count(launch.name(), a.cuSeqlens());
    launch
        .read("x", a.x(), spec.dataType(), tokens, spec.channels())
        .read("cuSeqlens", a.cuSeqlens(), I32, sequences + 1)
        .write("out", a.out(), spec.dataType(), tokens, spec.channels())
        .read("cacheIndices", a.cacheIndices(), I32, sequences)
        .read("hasInitialState", a.hasInitialState(), U8, sequences)
        .read("cacheSeqlens", a.cacheSeqlens(), I32, sequences)
        .add(
            "initialStatesOut",
            a.initialStatesOut(),
            true,
            Launch.Layout.LAST_TWO,
            spec.stateType(),
            sequences,
            spec.channels(),
            spec.width() - 1)
        .require(
            (a.states() == null) == (a.cacheIndices() == null)
                && (a.states() == null) == (a.hasInitialState() == null),
            () -> "states, cacheIndices and hasInitialState: expected all or none")
        .require(
            a.states() != null || (a.cacheSeqlens() == null && a.initialStatesOut() == null),
            () -> "cacheSeqlens and initialStatesOut need states");
    states(launch, a.states(), true, spec.width() - 1L)
        .workspace(workspaceBytes(Mode.FORWARD, Limits.of(tokens, sequences)))
        .validate(v -> {
          Sequences.checkAscending(launch.name(), v, a.cuSeqlens(), tokens);
          checkSlots(launch, v, a.states(), a.cacheIndices());
        });
    launch(stream, launch, (kernel, context) -> kernel.forward(context, a));
  }

  /**
   * Enqueues a decoding step.
   *
   * @param stream orders it
   * @param a the tensors
   * @throws IllegalArgumentException naming the tensor that does not fit, before anything is
   *     enqueued
   */
  public void update(Stream stream, Conv1dUpdate a) {
    Launch launch = start("conv1d.update", Mode.UPDATE, a.weights());
    Tensor lengths = a.cuSeqlens();
    long sequences;
    long tokens;
    long[] shape;
    if (lengths == null) {
      launch.require(
          a.x().rank() == 3,
          () -> "x: expected [B, L, C], or [T, C] with cuSeqlens, but was " + a.x());
      sequences = a.x().size(0);
      tokens = sequences * a.x().size(1);
      shape = new long[] {sequences, a.x().size(1), spec.channels()};
    } else {
      launch.require(
          a.x().rank() == 2, () -> "x: expected [T, C], as there are cuSeqlens, but was " + a.x());
      sequences = Sequences.count(launch.name(), lengths);
      tokens = a.x().size(0);
      shape = new long[] {tokens, spec.channels()};
      launch.read("cuSeqlens", lengths, I32, sequences + 1);
    }
    long columns = spec.width() - 1L;
    if (a.numAccepted() != null) {
      launch.require(
          a.cacheSeqlens() == null, () -> "numAccepted: rings go back by cacheSeqlens instead");
      if (lengths == null) {
        columns = Math.max(columns, spec.width() - 2 + a.x().size(1));
      }
    }
    launch
        .read("x", a.x(), spec.dataType(), shape)
        .write("out", a.out(), spec.dataType(), shape)
        .mayAlias("x", "out")
        .read("cacheIndices", a.cacheIndices(), I32, sequences)
        .read("cacheSeqlens", a.cacheSeqlens(), I32, sequences)
        .read("numAccepted", a.numAccepted(), I32, sequences);
    states(launch, a.states(), true, columns)
        .workspace(workspaceBytes(Mode.UPDATE, Limits.of(tokens, sequences)))
        .validate(v -> {
          if (lengths != null) {
            Sequences.checkAscending(launch.name(), v, lengths, tokens);
          }
          checkSlots(launch, v, a.states(), a.cacheIndices());
          checkAccepted(launch, v, a.numAccepted(), a.states().size(2) - spec.width() + 2);
        });
    launch(stream, launch, (kernel, context) -> kernel.update(context, a));
  }

  /**
   * Enqueues a backward pass.
   *
   * @param stream orders it
   * @param a the tensors
   * @throws IllegalArgumentException naming the tensor that does not fit, before anything is
   *     enqueued
   */
  public void backward(Stream stream, Conv1dBackward a) {
    Launch launch = start("conv1d.backward", Mode.BACKWARD, a.weights());
    long tokens = rows(launch, a.x());
    long sequences = Sequences.count(launch.name(), a.cuSeqlens());
    long channels = spec.channels();
    long history = spec.width() - 1L;
    launch
        .read("x", a.x(), spec.dataType(), tokens, channels)
        .read("cuSeqlens", a.cuSeqlens(), I32, sequences + 1)
        .read("dout", a.dout(), spec.dataType(), tokens, channels)
        .read("cacheIndices", a.cacheIndices(), I32, sequences)
        .add(
            "initialStates",
            a.initialStates(),
            false,
            Launch.Layout.LAST_TWO,
            spec.stateType(),
            sequences,
            channels,
            history)
        .read("hasInitialState", a.hasInitialState(), U8, sequences)
        .add(
            "dfinalStates",
            a.dfinalStates(),
            false,
            Launch.Layout.LAST_TWO,
            spec.stateType(),
            sequences,
            channels,
            history)
        .write("dx", a.dx(), spec.dataType(), tokens, channels)
        .write("dweight", a.dweight(), spec.gradientType(), channels, spec.width())
        .write("dbias", a.dbias(), spec.gradientType(), channels)
        .add(
            "dinitialStates",
            a.dinitialStates(),
            true,
            Launch.Layout.LAST_TWO,
            spec.stateType(),
            sequences,
            channels,
            history)
        .require(
            (a.initialStates() == null) == (a.hasInitialState() == null),
            () -> "initialStates and hasInitialState: expected both or none")
        .require(a.dbias() == null || spec.bias(), () -> "dbias: the spec has no bias")
        .workspace(workspaceBytes(Mode.BACKWARD, Limits.of(tokens, sequences)))
        .validate(v -> Sequences.checkAscending(launch.name(), v, a.cuSeqlens(), tokens));
    launch(stream, launch, (kernel, context) -> kernel.backward(context, a));
  }

  private Launch requireMode(Launch launch, Mode mode) {
    return launch.require(
        spec.modes().contains(mode),
        () -> "the spec was prepared for " + spec.modes() + " only; add " + mode + " to its modes");
  }

  private Launch start(String name, Mode mode, Conv1dBinding weights) {
    return requireMode(Launch.of(name), mode)
        .require(
            weights.kernel() == this,
            () -> "weights: bound to another kernel; bind them to this one")
        .uses(weights);
  }

  private static long rows(Launch launch, Tensor x) {
    launch.require(x.rank() == 2, () -> "x: expected [T, C], but was " + x);
    return x.size(0);
  }

  private Launch states(Launch launch, @Nullable Tensor states, boolean written, long columns) {
    if (states == null) {
      return launch;
    }
    launch.add(
        "states",
        states,
        written,
        Launch.Layout.LAST_TWO,
        spec.stateType(),
        Launch.ANY,
        spec.channels(),
        Launch.ANY);
    return launch.require(
        states.size(2) >= columns,
        () -> "states: expected at least " + columns + " columns, but was " + states);
  }

  private void checkSlots(
      Launch launch,
      Function<Tensor, HostTensor> download,
      @Nullable Tensor states,
      @Nullable Tensor cacheIndices) {
    if (states == null || cacheIndices == null) {
      return;
    }
    Sequences.checkRange(
        launch.name(), "cacheIndices", download, cacheIndices, states.size(0), spec.padSlotId());
    int[] slots = download.apply(cacheIndices).toInts();
    java.util.Set<Integer> seen = new java.util.HashSet<>();
    for (int i = 0; i < slots.length; i++) {
      int b = i;
      launch.require(
          slots[b] == spec.padSlotId() || seen.add(slots[b]),
          () ->
              "cacheIndices["
                  + b
                  + "]: slot "
                  + slots[b]
                  + " is given twice; slots must be distinct");
    }
  }

  private static void checkAccepted(
      Launch launch,
      Function<Tensor, HostTensor> download,
      @Nullable Tensor numAccepted,
      long most) {
    if (numAccepted == null) {
      return;
    }
    int[] values = download.apply(numAccepted).toInts();
    for (int b = 0; b < values.length; b++) {
      int at = b;
      launch.require(
          values[b] >= 1 && values[b] <= most,
          () -> "numAccepted[" + at + "]: expected 1.." + most + ", but was " + values[at]);
    }
  }
}
