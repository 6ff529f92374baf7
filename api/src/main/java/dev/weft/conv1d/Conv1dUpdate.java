package dev.weft.conv1d;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a decoding step: one or several new tokens for each slot. Immutable.
 *
 * <p>The slot's last W-1 columns are the history, and the state shifts left by the new tokens. With
 * {@code cacheSeqlens} the slot is a ring instead. With {@code numAccepted} (speculation; not for
 * rings) the history starts at column {@code numAccepted[b] - 1}: after the call the first W-2+L
 * columns hold the history without its oldest column, then the L new tokens, so that the next call
 * can take back those that were not accepted; S >= W-2+L.
 */
public final class Conv1dUpdate {
  private final Conv1dBinding weights;
  private final Tensor x;
  private final Tensor states;
  private final Tensor cacheIndices;
  private final Tensor out;
  private final @Nullable Tensor cuSeqlens;
  private final @Nullable Tensor cacheSeqlens;
  private final @Nullable Tensor numAccepted;

  private Conv1dUpdate(
      Conv1dBinding weights,
      Tensor x,
      Tensor states,
      Tensor cacheIndices,
      Tensor out,
      @Nullable Tensor cuSeqlens,
      @Nullable Tensor cacheSeqlens,
      @Nullable Tensor numAccepted) {
    this.weights = requireNonNull(weights, "weights");
    this.x = requireNonNull(x, "x");
    this.states = requireNonNull(states, "states");
    this.cacheIndices = requireNonNull(cacheIndices, "cacheIndices");
    this.out = requireNonNull(out, "out");
    this.cuSeqlens = cuSeqlens;
    this.cacheSeqlens = cacheSeqlens;
    this.numAccepted = numAccepted;
  }

  /**
   * Takes the tensors that every call has.
   *
   * @param weights the bound weight and bias
   * @param x [B, L, C] inputs, or [T, C] with cuSeqlens
   * @param states [slots, C, S], S >= W-1, updated in place
   * @param cacheIndices [B] I32, the slot of each sequence; padSlotId, or one out of range, skips
   *     it: its out rows are zero
   * @param out shaped like x, written; may be x itself
   * @return arguments without options
   */
  public static Conv1dUpdate of(
      Conv1dBinding weights, Tensor x, Tensor states, Tensor cacheIndices, Tensor out) {
    return new Conv1dUpdate(weights, x, states, cacheIndices, out, null, null, null);
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
   * @return [B, L, C] inputs, or [T, C] with cuSeqlens
   */
  public Tensor x() {
    return x;
  }

  /**
   * Returns states.
   *
   * @return [slots, C, S], S >= W-1, updated in place
   */
  public Tensor states() {
    return states;
  }

  /**
   * Returns cacheIndices.
   *
   * @return [B] I32, the slot of each sequence; padSlotId, or one out of range, skips it: its out
   *     rows are zero
   */
  public Tensor cacheIndices() {
    return cacheIndices;
  }

  /**
   * Returns out.
   *
   * @return shaped like x, written; may be x itself
   */
  public Tensor out() {
    return out;
  }

  /**
   * Returns cuSeqlens.
   *
   * @return [B+1] I32, where the new tokens of each sequence start, for x of [T, C]; null if not
   *     given
   */
  public @Nullable Tensor cuSeqlens() {
    return cuSeqlens;
  }

  /**
   * Gives cuSeqlens.
   *
   * @param cuSeqlens [B+1] I32, where the new tokens of each sequence start, for x of [T, C], or
   *     null for none
   * @return a copy with it
   */
  public Conv1dUpdate cuSeqlens(@Nullable Tensor cuSeqlens) {
    return new Conv1dUpdate(
        weights, x, states, cacheIndices, out, cuSeqlens, cacheSeqlens, numAccepted);
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
  public Conv1dUpdate cacheSeqlens(@Nullable Tensor cacheSeqlens) {
    return new Conv1dUpdate(
        weights, x, states, cacheIndices, out, cuSeqlens, cacheSeqlens, numAccepted);
  }

  /**
   * Returns numAccepted.
   *
   * @return [B] I32, at least 1: tokens of the previous call that were accepted; null if not given
   */
  public @Nullable Tensor numAccepted() {
    return numAccepted;
  }

  /**
   * Gives numAccepted.
   *
   * @param numAccepted [B] I32, at least 1: tokens of the previous call that were accepted, or null
   *     for none
   * @return a copy with it
   */
  public Conv1dUpdate numAccepted(@Nullable Tensor numAccepted) {
    return new Conv1dUpdate(
        weights, x, states, cacheIndices, out, cuSeqlens, cacheSeqlens, numAccepted);
  }
}
