package dev.weft.moe;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a mixture-of-experts forward pass. Immutable.
 *
 * <p>Which of logits, ids and weights are inputs follows from the router's {@link
 * RouterSpec.Source}.
 */
public final class MoeForward {
  private final MoeBinding weights;
  private final Tensor x;
  private final Tensor y;
  private final @Nullable Tensor givenLogits;
  private final @Nullable Tensor givenIds;
  private final @Nullable Tensor givenWeights;
  private final @Nullable Tensor tokenCount;
  private final @Nullable Tensor ids;
  private final @Nullable Tensor routingWeights;
  private final @Nullable Tensor logits;
  private final @Nullable Tensor counts;
  private final @Nullable MoeSaved saved;

  private MoeForward(
      MoeBinding weights,
      Tensor x,
      Tensor y,
      @Nullable Tensor givenLogits,
      @Nullable Tensor givenIds,
      @Nullable Tensor givenWeights,
      @Nullable Tensor tokenCount,
      @Nullable Tensor ids,
      @Nullable Tensor routingWeights,
      @Nullable Tensor logits,
      @Nullable Tensor counts,
      @Nullable MoeSaved saved) {
    this.weights = requireNonNull(weights, "weights");
    this.x = requireNonNull(x, "x");
    this.y = requireNonNull(y, "y");
    this.givenLogits = givenLogits;
    this.givenIds = givenIds;
    this.givenWeights = givenWeights;
    this.tokenCount = tokenCount;
    this.ids = ids;
    this.routingWeights = routingWeights;
    this.logits = logits;
    this.counts = counts;
    this.saved = saved;
  }

  /**
   * Takes the tensors that every call has.
   *
   * @param weights the bound weights
   * @param x [T, H] activations
   * @param y [T, H], written
   * @return arguments without options
   */
  public static MoeForward of(MoeBinding weights, Tensor x, Tensor y) {
    return new MoeForward(weights, x, y, null, null, null, null, null, null, null, null, null);
  }

  /**
   * Returns weights.
   *
   * @return the bound weights
   */
  public MoeBinding weights() {
    return weights;
  }

  /**
   * Returns x.
   *
   * @return [T, H] activations
   */
  public Tensor x() {
    return x;
  }

  /**
   * Returns y.
   *
   * @return [T, H], written
   */
  public Tensor y() {
    return y;
  }

  /**
   * Returns givenLogits.
   *
   * @return [T, E] F32, read with Source.LOGITS; null if not given
   */
  public @Nullable Tensor givenLogits() {
    return givenLogits;
  }

  /**
   * Gives givenLogits.
   *
   * @param givenLogits [T, E] F32, read with Source.LOGITS, or null for none
   * @return a copy with it
   */
  public MoeForward givenLogits(@Nullable Tensor givenLogits) {
    return new MoeForward(
        weights,
        x,
        y,
        givenLogits,
        givenIds,
        givenWeights,
        tokenCount,
        ids,
        routingWeights,
        logits,
        counts,
        saved);
  }

  /**
   * Returns givenIds.
   *
   * @return [T, topK] I32, read with Source.GIVEN; outside [0, E) skips the slot; null if not given
   */
  public @Nullable Tensor givenIds() {
    return givenIds;
  }

  /**
   * Gives givenIds.
   *
   * @param givenIds [T, topK] I32, read with Source.GIVEN; outside [0, E) skips the slot, or null
   *     for none
   * @return a copy with it
   */
  public MoeForward givenIds(@Nullable Tensor givenIds) {
    return new MoeForward(
        weights,
        x,
        y,
        givenLogits,
        givenIds,
        givenWeights,
        tokenCount,
        ids,
        routingWeights,
        logits,
        counts,
        saved);
  }

  /**
   * Returns givenWeights.
   *
   * @return [T, topK] F32, read with Source.GIVEN and used as they are; null if not given
   */
  public @Nullable Tensor givenWeights() {
    return givenWeights;
  }

  /**
   * Gives givenWeights.
   *
   * @param givenWeights [T, topK] F32, read with Source.GIVEN and used as they are, or null for
   *     none
   * @return a copy with it
   */
  public MoeForward givenWeights(@Nullable Tensor givenWeights) {
    return new MoeForward(
        weights,
        x,
        y,
        givenLogits,
        givenIds,
        givenWeights,
        tokenCount,
        ids,
        routingWeights,
        logits,
        counts,
        saved);
  }

  /**
   * Returns tokenCount.
   *
   * @return [1] I32 on the device: rows from it on are padding; null if not given
   */
  public @Nullable Tensor tokenCount() {
    return tokenCount;
  }

  /**
   * Gives tokenCount.
   *
   * @param tokenCount [1] I32 on the device: rows from it on are padding, or null for none
   * @return a copy with it
   */
  public MoeForward tokenCount(@Nullable Tensor tokenCount) {
    return new MoeForward(
        weights,
        x,
        y,
        givenLogits,
        givenIds,
        givenWeights,
        tokenCount,
        ids,
        routingWeights,
        logits,
        counts,
        saved);
  }

  /**
   * Returns ids.
   *
   * @return [T, topK] I32, written: experts by falling key; null if not given
   */
  public @Nullable Tensor ids() {
    return ids;
  }

  /**
   * Gives ids.
   *
   * @param ids [T, topK] I32, written: experts by falling key, or null for none
   * @return a copy with it
   */
  public MoeForward ids(@Nullable Tensor ids) {
    return new MoeForward(
        weights,
        x,
        y,
        givenLogits,
        givenIds,
        givenWeights,
        tokenCount,
        ids,
        routingWeights,
        logits,
        counts,
        saved);
  }

  /**
   * Returns routingWeights.
   *
   * @return [T, topK] F32, written; null if not given
   */
  public @Nullable Tensor routingWeights() {
    return routingWeights;
  }

  /**
   * Gives routingWeights.
   *
   * @param routingWeights [T, topK] F32, written, or null for none
   * @return a copy with it
   */
  public MoeForward routingWeights(@Nullable Tensor routingWeights) {
    return new MoeForward(
        weights,
        x,
        y,
        givenLogits,
        givenIds,
        givenWeights,
        tokenCount,
        ids,
        routingWeights,
        logits,
        counts,
        saved);
  }

  /**
   * Returns logits.
   *
   * @return [T, E] F32, written; null if not given
   */
  public @Nullable Tensor logits() {
    return logits;
  }

  /**
   * Gives logits.
   *
   * @param logits [T, E] F32, written, or null for none
   * @return a copy with it
   */
  public MoeForward logits(@Nullable Tensor logits) {
    return new MoeForward(
        weights,
        x,
        y,
        givenLogits,
        givenIds,
        givenWeights,
        tokenCount,
        ids,
        routingWeights,
        logits,
        counts,
        saved);
  }

  /**
   * Returns counts.
   *
   * @return [E] I32, written: slots of each expert, all of [0, E); null if not given
   */
  public @Nullable Tensor counts() {
    return counts;
  }

  /**
   * Gives counts.
   *
   * @param counts [E] I32, written: slots of each expert, all of [0, E), or null for none
   * @return a copy with it
   */
  public MoeForward counts(@Nullable Tensor counts) {
    return new MoeForward(
        weights,
        x,
        y,
        givenLogits,
        givenIds,
        givenWeights,
        tokenCount,
        ids,
        routingWeights,
        logits,
        counts,
        saved);
  }

  /**
   * Returns saved.
   *
   * @return what backward will need, written; null if not given
   */
  public @Nullable MoeSaved saved() {
    return saved;
  }

  /**
   * Gives saved.
   *
   * @param saved what backward will need, written, or null for none
   * @return a copy with it
   */
  public MoeForward saved(@Nullable MoeSaved saved) {
    return new MoeForward(
        weights,
        x,
        y,
        givenLogits,
        givenIds,
        givenWeights,
        tokenCount,
        ids,
        routingWeights,
        logits,
        counts,
        saved);
  }
}
