package dev.weft.conv1d;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a convolution's backward pass; the pre-activation is recomputed. Each gradient is
 * optional and skipped where not asked for. Immutable.
 */
public final class Conv1dBackward {
  private final Conv1dBinding weights;
  private final Tensor x;
  private final Tensor cuSeqlens;
  private final Tensor dout;
  private final @Nullable Tensor cacheIndices;
  private final @Nullable Tensor initialStates;
  private final @Nullable Tensor hasInitialState;
  private final @Nullable Tensor dfinalStates;
  private final @Nullable Tensor dx;
  private final @Nullable Tensor dweight;
  private final @Nullable Tensor dbias;
  private final @Nullable Tensor dinitialStates;
  private final boolean accumulate;

  private Conv1dBackward(
      Conv1dBinding weights,
      Tensor x,
      Tensor cuSeqlens,
      Tensor dout,
      @Nullable Tensor cacheIndices,
      @Nullable Tensor initialStates,
      @Nullable Tensor hasInitialState,
      @Nullable Tensor dfinalStates,
      @Nullable Tensor dx,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias,
      @Nullable Tensor dinitialStates,
      boolean accumulate) {
    this.weights = requireNonNull(weights, "weights");
    this.x = requireNonNull(x, "x");
    this.cuSeqlens = requireNonNull(cuSeqlens, "cuSeqlens");
    this.dout = requireNonNull(dout, "dout");
    this.cacheIndices = cacheIndices;
    this.initialStates = initialStates;
    this.hasInitialState = hasInitialState;
    this.dfinalStates = dfinalStates;
    this.dx = dx;
    this.dweight = dweight;
    this.dbias = dbias;
    this.dinitialStates = dinitialStates;
    this.accumulate = accumulate;
  }

  /**
   * Takes the tensors that every call has.
   *
   * @param weights the bound weight and bias
   * @param x [T, C] inputs
   * @param cuSeqlens [B+1] I32, where sequences start
   * @param dout [T, C] gradient of out
   * @return arguments without options
   */
  public static Conv1dBackward of(Conv1dBinding weights, Tensor x, Tensor cuSeqlens, Tensor dout) {
    return new Conv1dBackward(
        weights, x, cuSeqlens, dout, null, null, null, null, null, null, null, null, false);
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
   * @return [B+1] I32, where sequences start
   */
  public Tensor cuSeqlens() {
    return cuSeqlens;
  }

  /**
   * Returns dout.
   *
   * @return [T, C] gradient of out
   */
  public Tensor dout() {
    return dout;
  }

  /**
   * Returns cacheIndices.
   *
   * @return [B] I32 as for forward; sequences that were skipped there have dx 0 and dinitialStates
   *     0; null if not given
   */
  public @Nullable Tensor cacheIndices() {
    return cacheIndices;
  }

  /**
   * Gives cacheIndices.
   *
   * @param cacheIndices [B] I32 as for forward; sequences that were skipped there have dx 0 and
   *     dinitialStates 0, or null for none
   * @return a copy with it
   */
  public Conv1dBackward cacheIndices(@Nullable Tensor cacheIndices) {
    return new Conv1dBackward(
        weights,
        x,
        cuSeqlens,
        dout,
        cacheIndices,
        initialStates,
        hasInitialState,
        dfinalStates,
        dx,
        dweight,
        dbias,
        dinitialStates,
        accumulate);
  }

  /**
   * Returns initialStates.
   *
   * @return [B, C, W-1] of the state type, the history that each sequence started from; null if not
   *     given
   */
  public @Nullable Tensor initialStates() {
    return initialStates;
  }

  /**
   * Gives initialStates.
   *
   * @param initialStates [B, C, W-1] of the state type, the history that each sequence started
   *     from, or null for none
   * @return a copy with it
   */
  public Conv1dBackward initialStates(@Nullable Tensor initialStates) {
    return new Conv1dBackward(
        weights,
        x,
        cuSeqlens,
        dout,
        cacheIndices,
        initialStates,
        hasInitialState,
        dfinalStates,
        dx,
        dweight,
        dbias,
        dinitialStates,
        accumulate);
  }

  /**
   * Returns hasInitialState.
   *
   * @return [B] U8, 0 where a sequence started from zeros; needed with initialStates; null if not
   *     given
   */
  public @Nullable Tensor hasInitialState() {
    return hasInitialState;
  }

  /**
   * Gives hasInitialState.
   *
   * @param hasInitialState [B] U8, 0 where a sequence started from zeros; needed with
   *     initialStates, or null for none
   * @return a copy with it
   */
  public Conv1dBackward hasInitialState(@Nullable Tensor hasInitialState) {
    return new Conv1dBackward(
        weights,
        x,
        cuSeqlens,
        dout,
        cacheIndices,
        initialStates,
        hasInitialState,
        dfinalStates,
        dx,
        dweight,
        dbias,
        dinitialStates,
        accumulate);
  }

  /**
   * Returns dfinalStates.
   *
   * @return [B, C, W-1] of the state type, gradient of the last W-1 inputs kept; null if not given
   */
  public @Nullable Tensor dfinalStates() {
    return dfinalStates;
  }

  /**
   * Gives dfinalStates.
   *
   * @param dfinalStates [B, C, W-1] of the state type, gradient of the last W-1 inputs kept, or
   *     null for none
   * @return a copy with it
   */
  public Conv1dBackward dfinalStates(@Nullable Tensor dfinalStates) {
    return new Conv1dBackward(
        weights,
        x,
        cuSeqlens,
        dout,
        cacheIndices,
        initialStates,
        hasInitialState,
        dfinalStates,
        dx,
        dweight,
        dbias,
        dinitialStates,
        accumulate);
  }

  /**
   * Returns dx.
   *
   * @return [T, C], written; null if not given
   */
  public @Nullable Tensor dx() {
    return dx;
  }

  /**
   * Gives dx.
   *
   * @param dx [T, C], written, or null for none
   * @return a copy with it
   */
  public Conv1dBackward dx(@Nullable Tensor dx) {
    return new Conv1dBackward(
        weights,
        x,
        cuSeqlens,
        dout,
        cacheIndices,
        initialStates,
        hasInitialState,
        dfinalStates,
        dx,
        dweight,
        dbias,
        dinitialStates,
        accumulate);
  }

  /**
   * Returns dweight.
   *
   * @return [C, W] of the gradient type, written; null if not given
   */
  public @Nullable Tensor dweight() {
    return dweight;
  }

  /**
   * Gives dweight.
   *
   * @param dweight [C, W] of the gradient type, written, or null for none
   * @return a copy with it
   */
  public Conv1dBackward dweight(@Nullable Tensor dweight) {
    return new Conv1dBackward(
        weights,
        x,
        cuSeqlens,
        dout,
        cacheIndices,
        initialStates,
        hasInitialState,
        dfinalStates,
        dx,
        dweight,
        dbias,
        dinitialStates,
        accumulate);
  }

  /**
   * Returns dbias.
   *
   * @return [C] of the gradient type, written; null if not given
   */
  public @Nullable Tensor dbias() {
    return dbias;
  }

  /**
   * Gives dbias.
   *
   * @param dbias [C] of the gradient type, written, or null for none
   * @return a copy with it
   */
  public Conv1dBackward dbias(@Nullable Tensor dbias) {
    return new Conv1dBackward(
        weights,
        x,
        cuSeqlens,
        dout,
        cacheIndices,
        initialStates,
        hasInitialState,
        dfinalStates,
        dx,
        dweight,
        dbias,
        dinitialStates,
        accumulate);
  }

  /**
   * Returns dinitialStates.
   *
   * @return [B, C, W-1] of the state type, written; 0 without an initial state; null if not given
   */
  public @Nullable Tensor dinitialStates() {
    return dinitialStates;
  }

  /**
   * Gives dinitialStates.
   *
   * @param dinitialStates [B, C, W-1] of the state type, written; 0 without an initial state, or
   *     null for none
   * @return a copy with it
   */
  public Conv1dBackward dinitialStates(@Nullable Tensor dinitialStates) {
    return new Conv1dBackward(
        weights,
        x,
        cuSeqlens,
        dout,
        cacheIndices,
        initialStates,
        hasInitialState,
        dfinalStates,
        dx,
        dweight,
        dbias,
        dinitialStates,
        accumulate);
  }

  /**
   * Returns accumulate.
   *
   * @return true to add to dweight and dbias rather than overwrite them
   */
  public boolean accumulate() {
    return accumulate;
  }

  /**
   * Gives accumulate.
   *
   * @param accumulate true to add to dweight and dbias rather than overwrite them
   * @return a copy with it
   */
  public Conv1dBackward accumulate(boolean accumulate) {
    return new Conv1dBackward(
        weights,
        x,
        cuSeqlens,
        dout,
        cacheIndices,
        initialStates,
        hasInitialState,
        dfinalStates,
        dx,
        dweight,
        dbias,
        dinitialStates,
        accumulate);
  }
}
