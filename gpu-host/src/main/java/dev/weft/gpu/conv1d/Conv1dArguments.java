package dev.weft.gpu.conv1d;

import dev.weft.Tensor;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import org.jspecify.annotations.Nullable;

/**
 * Writes the arguments of conv1d kernels, which all GPU backends have in the same order: tensors,
 * strides, sizes, how the work is cut, and what only kernels that take any type look at.
 *
 * @param spec what is computed
 */
public record Conv1dArguments(CausalConv1dSpec spec) {
  /** Sequences that one tile beyond the tokens' looks through for empty ones. */
  private static final int EMPTY_PER_TILE = 32;

  /**
   * How the work is cut, as kernels get it.
   *
   * @param tile tokens of a tile, or sequences in an update
   * @param tiles how many tiles
   * @param across blocks or threads side by side, which own all channels together
   */
  public record Cut(int tile, int tiles, int across) {}

  /** Tiles beyond the tokens', which look for empty sequences: none unless they leave something. */
  public static int emptyTiles(@Nullable Tensor leave, int sequences) {
    return leave == null ? 0 : (sequences + EMPTY_PER_TILE - 1) / EMPTY_PER_TILE;
  }

  /** Whether a thread's states are reached in whole accesses, not element by element. */
  public boolean reachesWhole(Tensor states, Conv1dForm form) {
    return Conv1dStates.mode(states, spec.width(), form) != Conv1dStates.SCATTERED;
  }

  /** Of the kernel that packs weights. */
  static void putWeights(Arguments to, Tensor weight, @Nullable Tensor bias, Region packed) {
    int channels = Math.toIntExact(weight.size(0));
    to.region(Region.of(weight))
        .region(Region.ofNullable(bias))
        .region(packed)
        .value(TensorLayout.stride(weight, 0))
        .value(Conv1dPlan.weightPitch(channels))
        .value(channels)
        .value(Math.toIntExact(weight.size(1)))
        .value(TensorLayout.typeCode(weight.dataType()));
  }

  /** Of a forward pass. */
  public void put(Arguments to, Conv1dForward a, Conv1dForm form, Cut cut) {
    Tensor states = a.states();
    to.region(Region.of(a.x()))
        .region(Region.of(a.out()))
        .region(PackedWeights.of(a.weights()).region())
        .region(Region.of(a.cuSeqlens()))
        .region(Region.ofNullable(a.cacheIndices()))
        .region(Region.ofNullable(a.hasInitialState()))
        .region(Region.ofNullable(a.cacheSeqlens()));
    Conv1dStates.put(to, states, spec.width(), form);
    Conv1dStates.put(to, a.initialStatesOut(), spec.width(), form);
    to.value(TensorLayout.stride(a.x(), 0))
        .value(TensorLayout.stride(a.out(), 0))
        .value(weightPitch())
        .value(states == null ? 0L : states.size(0))
        .value(TensorLayout.tokens(a.x().size(0)))
        .value(sequences(a.cuSeqlens()))
        .value(states == null ? 0 : Math.toIntExact(states.size(2)))
        .value(cut.tile())
        .value(cut.tiles())
        .value(cut.across())
        .value(spec.padSlotId());
    putSpec(to);
    to.value(EMPTY_PER_TILE);
  }

  /** Of an update. */
  public void put(Arguments to, Conv1dUpdate a, Conv1dForm form, Cut cut) {
    Tensor x = a.x();
    Tensor out = a.out();
    Tensor lengths = a.cuSeqlens();
    Tensor states = a.states();
    int token = lengths == null ? 1 : 0; // the dimension of tokens
    to.region(Region.of(x))
        .region(Region.of(out))
        .region(PackedWeights.of(a.weights()).region())
        .region(Region.ofNullable(lengths))
        .region(Region.of(a.cacheIndices()))
        .region(Region.ofNullable(a.cacheSeqlens()))
        .region(Region.ofNullable(a.numAccepted()));
    Conv1dStates.put(to, states, spec.width(), form);
    to.value(lengths == null ? TensorLayout.stride(x, 0) : 0L)
        .value(TensorLayout.stride(x, token))
        .value(lengths == null ? TensorLayout.stride(out, 0) : 0L)
        .value(TensorLayout.stride(out, token))
        .value(weightPitch())
        .value(states.size(0))
        .value(lengths == null ? 0 : TensorLayout.tokens(x.size(0)))
        .value(Math.toIntExact(a.cacheIndices().size(0)))
        .value(Math.toIntExact(states.size(2)))
        .value(lengths == null ? Math.toIntExact(x.size(1)) : 0)
        .value(cut.tile())
        .value(cut.across())
        .value(spec.padSlotId());
    putSpec(to);
  }

  /**
   * Of a backward pass.
   *
   * @param tokens that belong to sequences
   * @param partial where the tiles leave their sums; null if no parameter gradient is asked for
   */
  public void put(
      Arguments to,
      Conv1dBackward a,
      Conv1dForm form,
      Cut cut,
      int tokens,
      @Nullable Region partial) {
    Tensor dx = a.dx();
    to.region(Region.of(a.x()))
        .region(Region.of(a.dout()))
        .region(Region.ofNullable(dx))
        .region(PackedWeights.of(a.weights()).region())
        .region(Region.of(a.cuSeqlens()))
        .region(Region.ofNullable(a.cacheIndices()))
        .region(Region.ofNullable(a.hasInitialState()));
    Conv1dStates.put(to, a.initialStates(), spec.width(), form);
    Conv1dStates.put(to, a.dfinalStates(), spec.width(), form);
    Conv1dStates.put(to, a.dinitialStates(), spec.width(), form);
    to.region(partial)
        .value(TensorLayout.stride(a.x(), 0))
        .value(TensorLayout.stride(a.dout(), 0))
        .value(dx == null ? 0L : TensorLayout.stride(dx, 0))
        .value(weightPitch())
        .value(tokens)
        .value(sequences(a.cuSeqlens()))
        .value(spec.padSlotId())
        .value(cut.tile())
        .value(cut.tiles())
        .value(cut.across())
        .value(EMPTY_PER_TILE);
    putSpec(to);
  }

  /**
   * Of the kernel that adds the tiles' sums.
   *
   * @param tiles how many there are
   * @param columns blocks side by side over the channels
   */
  public void putSums(
      Arguments to, Conv1dBackward a, @Nullable Region partial, int tiles, int columns) {
    Tensor dweight = a.dweight();
    to.region(partial)
        .region(Region.ofNullable(dweight))
        .region(Region.ofNullable(a.dbias()))
        .value(weightPitch())
        .value(dweight == null ? 0L : TensorLayout.stride(dweight, 0))
        .value(tiles)
        .value(spec.width())
        .value(spec.channels())
        .value(columns)
        .value(TensorLayout.typeCode(spec.gradientType()))
        .value(a.accumulate() ? 1 : 0);
  }

  /** The activation, and what only kernels that take any type and width look at. */
  private void putSpec(Arguments to) {
    to.value(spec.activation() == Activation.SILU ? 1 : 0)
        .value(spec.width())
        .value(TensorLayout.typeCode(spec.dataType()))
        .value(TensorLayout.typeCode(spec.stateType()));
  }

  private long weightPitch() {
    return Conv1dPlan.weightPitch(spec.channels());
  }

  private static int sequences(Tensor cuSeqlens) {
    return Math.toIntExact(cuSeqlens.size(0) - 1);
  }
}
