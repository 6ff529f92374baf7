package dev.weft.conv1d;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a convolution over packed sequences. Immutable.
 *
 * <p>Without states every sequence starts from zeros and nothing is kept. With them, sequence b
 * reads the slot {@code cacheIndices[b]} where {@code hasInitialState[b]} is not 0, and the slot
 * takes its last S inputs. With {@code cacheSeqlens} the slot is a ring: position p lies in column
 * p mod S, and with hasInitialState 0 the columns that no new token reaches become zero.
 */
public final class Conv1dForward {
  private final Conv1dBinding weights;
  private final Tensor x;
  private final Tensor cuSeqlens;
  private final Tensor out;
  private final @Nullable Tensor states;
  private final @Nullable Tensor cacheIndices;
  private final @Nullable Tensor hasInitialState;
  private final @Nullable Tensor cacheSeqlens;
  private final @Nullable Tensor initialStatesOut;

  private Conv1dForward(
      Conv1dBinding weights,
      Tensor x,
      Tensor cuSeqlens,
      Tensor out,
      @Nullable Tensor states,
      @Nullable Tensor cacheIndices,
      @Nullable Tensor hasInitialState,
      @Nullable Tensor cacheSeqlens,
      @Nullable Tensor initialStatesOut) {
    this.weights = requireNonNull(weights, "weights");
    this.x = requireNonNull(x, "x");
    this.cuSeqlens = requireNonNull(cuSeqlens, "cuSeqlens");
    this.out = requireNonNull(out, "out");
    this.states = states;
    this.cacheIndices = cacheIndices;
    this.hasInitialState = hasInitialState;
    this.cacheSeqlens = cacheSeqlens;
    this.initialStatesOut = initialStatesOut;
  }

  /**
   * Takes the tensors that every call has.
   *
   * @param weights the bound weight and bias
   * @param x [T, C] inputs
   * @param cuSeqlens [B+1] I32, where sequences start; rows from its last value on are padding
   * @param out [T, C], written
   * @return arguments without options
   */
  public static Conv1dForward of(Conv1dBinding weights, Tensor x, Tensor cuSeqlens, Tensor out) {
    return new Conv1dForward(weights, x, cuSeqlens, out, null, null, null, null, null);
  }

  /**
   * Returns weights.
   *
   * @return the bound weight and bias
   */
  public Conv1dBinding weights() {
    return weights;
  }

  /**
   * Returns x.
   *
   * @return [T, C] inputs
   */
  public Tensor x() {
    return x;
  }

  /**
   * Returns cuSeqlens.
   *
   * @return [B+1] I32, where sequences start; rows from its last value on are padding
   */
  public Tensor cuSeqlens() {
    return cuSeqlens;
  }

  /**
   * Returns out.
   *
   * @return [T, C], written
   */
  public Tensor out() {
    return out;
  }

  /**
   * Returns states.
   *
   * @return [slots, C, S], S >= W-1, updated: the last S inputs of each slot, oldest first;
   *     transpose a [slots, S, C] tensor into this shape; null if not given
   */
  public @Nullable Tensor states() {
    return states;
  }

  /**
   * Gives states.
   *
   * @param states [slots, C, S], S >= W-1, updated: the last S inputs of each slot, oldest first;
   *     transpose a [slots, S, C] tensor into this shape, or null for none
   * @return a copy with it
   */
  public Conv1dForward states(@Nullable Tensor states) {
    return new Conv1dForward(
        weights,
        x,
        cuSeqlens,
        out,
        states,
        cacheIndices,
        hasInitialState,
        cacheSeqlens,
        initialStatesOut);
  }

  /**
   * Returns cacheIndices.
   *
   * @return [B] I32, the slot of each sequence; padSlotId, or one out of range, skips the sequence:
   *     its out rows are zero; null if not given
   */
  public @Nullable Tensor cacheIndices() {
    return cacheIndices;
  }

  /**
   * Gives cacheIndices.
   *
   * @param cacheIndices [B] I32, the slot of each sequence; padSlotId, or one out of range, skips
   *     the sequence: its out rows are zero, or null for none
   * @return a copy with it
   */
  public Conv1dForward cacheIndices(@Nullable Tensor cacheIndices) {
    return new Conv1dForward(
        weights,
        x,
        cuSeqlens,
        out,
        states,
        cacheIndices,
        hasInitialState,
        cacheSeqlens,
        initialStatesOut);
  }

  /**
   * Returns hasInitialState.
   *
   * @return [B] U8, 0 where a sequence starts from zeros; null if not given
   */
  public @Nullable Tensor hasInitialState() {
    return hasInitialState;
  }

  /**
   * Gives hasInitialState.
   *
   * @param hasInitialState [B] U8, 0 where a sequence starts from zeros, or null for none
   * @return a copy with it
   */
  public Conv1dForward hasInitialState(@Nullable Tensor hasInitialState) {
    return new Conv1dForward(
        weights,
        x,
        cuSeqlens,
        out,
        states,
        cacheIndices,
        hasInitialState,
        cacheSeqlens,
        initialStatesOut);
  }

  /**
   * Returns cacheSeqlens.
   *
   * @return [B] I32, positions so far, making the states rings; not advanced; null if not given
   */
  public @Nullable Tensor cacheSeqlens() {
    return cacheSeqlens;
  }

  /**
   * Gives cacheSeqlens.
   *
   * @param cacheSeqlens [B] I32, positions so far, making the states rings; not advanced, or null
   *     for none
   * @return a copy with it
   */
  public Conv1dForward cacheSeqlens(@Nullable Tensor cacheSeqlens) {
    return new Conv1dForward(
        weights,
        x,
        cuSeqlens,
        out,
        states,
        cacheIndices,
        hasInitialState,
        cacheSeqlens,
        initialStatesOut);
  }

  /**
   * Returns initialStatesOut.
   *
   * @return [B, C, W-1] of the state type, written: the history that each sequence started from;
   *     null if not given
   */
  public @Nullable Tensor initialStatesOut() {
    return initialStatesOut;
  }

  /**
   * Gives initialStatesOut.
   *
   * @param initialStatesOut [B, C, W-1] of the state type, written: the history that each sequence
   *     started from, or null for none
   * @return a copy with it
   */
  public Conv1dForward initialStatesOut(@Nullable Tensor initialStatesOut) {
    return new Conv1dForward(
        weights,
        x,
        cuSeqlens,
        out,
        states,
        cacheIndices,
        hasInitialState,
        cacheSeqlens,
        initialStatesOut);
  }
}
