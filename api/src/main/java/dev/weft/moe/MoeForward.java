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
  /** The tensors that a call may leave out. */
  private enum Option {
    GIVEN_LOGITS,
    GIVEN_IDS,
    GIVEN_WEIGHTS,
    TOKEN_COUNT,
    IDS,
    ROUTING_WEIGHTS,
    LOGITS,
    COUNTS
  }

  private final MoeBinding weights;
  private final Tensor x;
  private final Tensor y;
  private final OptionalTensors<Option> options;
  private final @Nullable MoeSaved saved;

  private MoeForward(
      MoeBinding weights,
      Tensor x,
      Tensor y,
      OptionalTensors<Option> options,
      @Nullable MoeSaved saved) {
    this.weights = requireNonNull(weights, "weights");
    this.x = requireNonNull(x, "x");
    this.y = requireNonNull(y, "y");
    this.options = options;
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
    return new MoeForward(weights, x, y, OptionalTensors.none(Option.class), null);
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
    return options.get(Option.GIVEN_LOGITS);
  }

  /**
   * Gives givenLogits.
   *
   * @param givenLogits [T, E] F32, read with Source.LOGITS, or null for none
   * @return a copy with it
   */
  public MoeForward givenLogits(@Nullable Tensor givenLogits) {
    return with(Option.GIVEN_LOGITS, givenLogits);
  }

  /**
   * Returns givenIds.
   *
   * @return [T, topK] I32, read with Source.GIVEN; outside [0, E) skips the slot; null if not given
   */
  public @Nullable Tensor givenIds() {
    return options.get(Option.GIVEN_IDS);
  }

  /**
   * Gives givenIds.
   *
   * @param givenIds [T, topK] I32, read with Source.GIVEN; outside [0, E) skips the slot, or null
   *     for none
   * @return a copy with it
   */
  public MoeForward givenIds(@Nullable Tensor givenIds) {
    return with(Option.GIVEN_IDS, givenIds);
  }

  /**
   * Returns givenWeights.
   *
   * @return [T, topK] F32, read with Source.GIVEN and used as they are; null if not given
   */
  public @Nullable Tensor givenWeights() {
    return options.get(Option.GIVEN_WEIGHTS);
  }

  /**
   * Gives givenWeights.
   *
   * @param givenWeights [T, topK] F32, read with Source.GIVEN and used as they are, or null for
   *     none
   * @return a copy with it
   */
  public MoeForward givenWeights(@Nullable Tensor givenWeights) {
    return with(Option.GIVEN_WEIGHTS, givenWeights);
  }

  /**
   * Returns tokenCount.
   *
   * @return [1] I32 on the device: rows from it on are padding; null if not given
   */
  public @Nullable Tensor tokenCount() {
    return options.get(Option.TOKEN_COUNT);
  }

  /**
   * Gives tokenCount.
   *
   * @param tokenCount [1] I32 on the device: rows from it on are padding, or null for none
   * @return a copy with it
   */
  public MoeForward tokenCount(@Nullable Tensor tokenCount) {
    return with(Option.TOKEN_COUNT, tokenCount);
  }

  /**
   * Returns ids.
   *
   * @return [T, topK] I32, written: experts by falling key; null if not given
   */
  public @Nullable Tensor ids() {
    return options.get(Option.IDS);
  }

  /**
   * Gives ids.
   *
   * @param ids [T, topK] I32, written: experts by falling key, or null for none
   * @return a copy with it
   */
  public MoeForward ids(@Nullable Tensor ids) {
    return with(Option.IDS, ids);
  }

  /**
   * Returns routingWeights.
   *
   * @return [T, topK] F32, written; null if not given
   */
  public @Nullable Tensor routingWeights() {
    return options.get(Option.ROUTING_WEIGHTS);
  }

  /**
   * Gives routingWeights.
   *
   * @param routingWeights [T, topK] F32, written, or null for none
   * @return a copy with it
   */
  public MoeForward routingWeights(@Nullable Tensor routingWeights) {
    return with(Option.ROUTING_WEIGHTS, routingWeights);
  }

  /**
   * Returns logits.
   *
   * @return [T, E] F32, written; null if not given
   */
  public @Nullable Tensor logits() {
    return options.get(Option.LOGITS);
  }

  /**
   * Gives logits.
   *
   * @param logits [T, E] F32, written, or null for none
   * @return a copy with it
   */
  public MoeForward logits(@Nullable Tensor logits) {
    return with(Option.LOGITS, logits);
  }

  /**
   * Returns counts.
   *
   * @return [E] I32, written: slots of each expert, all of [0, E); null if not given
   */
  public @Nullable Tensor counts() {
    return options.get(Option.COUNTS);
  }

  /**
   * Gives counts.
   *
   * @param counts [E] I32, written: slots of each expert, all of [0, E), or null for none
   * @return a copy with it
   */
  public MoeForward counts(@Nullable Tensor counts) {
    return with(Option.COUNTS, counts);
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
    return new MoeForward(weights, x, y, options, saved);
  }

  private MoeForward with(Option option, @Nullable Tensor tensor) {
    return new MoeForward(weights, x, y, options.with(option, tensor), saved);
  }
}
