package dev.weft.moe;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a mixture-of-experts backward pass. Each gradient is optional and skipped where not
 * asked for; those of experts without tokens are zeros. Immutable.
 */
public final class MoeBackward {
  /** The tensors that a call may leave out. */
  private enum Option {
    TOKEN_COUNT,
    AUXILIARY_DLOGITS,
    DX,
    DLOGITS,
    DGIVEN_WEIGHTS,
    DROUTER_WEIGHT,
    DROUTER_BIAS,
    DGATE_UP,
    DGATE,
    DUP,
    DDOWN,
    DGATE_UP_BIAS,
    DDOWN_BIAS,
    DSHARED_GATE_UP,
    DSHARED_DOWN,
    DSHARED_GATE_WEIGHT
  }

  private final MoeBinding weights;
  private final Tensor x;
  private final Tensor dy;
  private final MoeSaved saved;
  private final OptionalTensors<Option> options;
  private final boolean accumulate;

  private MoeBackward(
      MoeBinding weights,
      Tensor x,
      Tensor dy,
      MoeSaved saved,
      OptionalTensors<Option> options,
      boolean accumulate) {
    this.weights = requireNonNull(weights, "weights");
    this.x = requireNonNull(x, "x");
    this.dy = requireNonNull(dy, "dy");
    this.saved = requireNonNull(saved, "saved");
    this.options = options;
    this.accumulate = accumulate;
  }

  /**
   * Takes the tensors that every call has.
   *
   * @param weights the bound weights, as for forward
   * @param x [T, H] activations
   * @param dy [T, H] gradient of y
   * @param saved as forward wrote it
   * @return arguments without options
   */
  public static MoeBackward of(MoeBinding weights, Tensor x, Tensor dy, MoeSaved saved) {
    return new MoeBackward(weights, x, dy, saved, OptionalTensors.none(Option.class), false);
  }

  /**
   * Returns weights.
   *
   * @return the bound weights, as for forward
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
   * Returns dy.
   *
   * @return [T, H] gradient of y
   */
  public Tensor dy() {
    return dy;
  }

  /**
   * Returns saved.
   *
   * @return as forward wrote it
   */
  public MoeSaved saved() {
    return saved;
  }

  /**
   * Returns tokenCount.
   *
   * @return [1] I32 on the device, as for forward; null if not given
   */
  public @Nullable Tensor tokenCount() {
    return options.get(Option.TOKEN_COUNT);
  }

  /**
   * Gives tokenCount.
   *
   * @param tokenCount [1] I32 on the device, as for forward, or null for none
   * @return a copy with it
   */
  public MoeBackward tokenCount(@Nullable Tensor tokenCount) {
    return with(Option.TOKEN_COUNT, tokenCount);
  }

  /**
   * Returns auxiliaryDlogits.
   *
   * @return [T, E] F32, read: gradients of auxiliary losses, added before the router backward; null
   *     if not given
   */
  public @Nullable Tensor auxiliaryDlogits() {
    return options.get(Option.AUXILIARY_DLOGITS);
  }

  /**
   * Gives auxiliaryDlogits.
   *
   * @param auxiliaryDlogits [T, E] F32, read: gradients of auxiliary losses, added before the
   *     router backward, or null for none
   * @return a copy with it
   */
  public MoeBackward auxiliaryDlogits(@Nullable Tensor auxiliaryDlogits) {
    return with(Option.AUXILIARY_DLOGITS, auxiliaryDlogits);
  }

  /**
   * Returns dx.
   *
   * @return [T, H] in the activation type, written; null if not given
   */
  public @Nullable Tensor dx() {
    return options.get(Option.DX);
  }

  /**
   * Gives dx.
   *
   * @param dx [T, H] in the activation type, written, or null for none
   * @return a copy with it
   */
  public MoeBackward dx(@Nullable Tensor dx) {
    return with(Option.DX, dx);
  }

  /**
   * Returns dlogits.
   *
   * @return [T, E] F32, written: the gradient of the logits, for Source.LOGITS and for inspection;
   *     null if not given
   */
  public @Nullable Tensor dlogits() {
    return options.get(Option.DLOGITS);
  }

  /**
   * Gives dlogits.
   *
   * @param dlogits [T, E] F32, written: the gradient of the logits, for Source.LOGITS and for
   *     inspection, or null for none
   * @return a copy with it
   */
  public MoeBackward dlogits(@Nullable Tensor dlogits) {
    return with(Option.DLOGITS, dlogits);
  }

  /**
   * Returns dgivenWeights.
   *
   * @return [T, topK] F32, written, for Source.GIVEN; null if not given
   */
  public @Nullable Tensor dgivenWeights() {
    return options.get(Option.DGIVEN_WEIGHTS);
  }

  /**
   * Gives dgivenWeights.
   *
   * @param dgivenWeights [T, topK] F32, written, for Source.GIVEN, or null for none
   * @return a copy with it
   */
  public MoeBackward dgivenWeights(@Nullable Tensor dgivenWeights) {
    return with(Option.DGIVEN_WEIGHTS, dgivenWeights);
  }

  /**
   * Returns drouterWeight.
   *
   * @return [E, H], written; null if not given
   */
  public @Nullable Tensor drouterWeight() {
    return options.get(Option.DROUTER_WEIGHT);
  }

  /**
   * Gives drouterWeight.
   *
   * @param drouterWeight [E, H], written, or null for none
   * @return a copy with it
   */
  public MoeBackward drouterWeight(@Nullable Tensor drouterWeight) {
    return with(Option.DROUTER_WEIGHT, drouterWeight);
  }

  /**
   * Returns drouterBias.
   *
   * @return [E], written; null if not given
   */
  public @Nullable Tensor drouterBias() {
    return options.get(Option.DROUTER_BIAS);
  }

  /**
   * Gives drouterBias.
   *
   * @param drouterBias [E], written, or null for none
   * @return a copy with it
   */
  public MoeBackward drouterBias(@Nullable Tensor drouterBias) {
    return with(Option.DROUTER_BIAS, drouterBias);
  }

  /**
   * Returns dgateUp.
   *
   * @return [count, 2I, H] laid out like the weight (RELU2: [count, I, H]), written; null if not
   *     given
   */
  public @Nullable Tensor dgateUp() {
    return options.get(Option.DGATE_UP);
  }

  /**
   * Gives dgateUp.
   *
   * @param dgateUp [count, 2I, H] laid out like the weight (RELU2: [count, I, H]), written, or null
   *     for none
   * @return a copy with it
   */
  public MoeBackward dgateUp(@Nullable Tensor dgateUp) {
    return with(Option.DGATE_UP, dgateUp);
  }

  /**
   * Returns dgate.
   *
   * @return [count, I, H], written, for layout SEPARATE; null if not given
   */
  public @Nullable Tensor dgate() {
    return options.get(Option.DGATE);
  }

  /**
   * Gives dgate.
   *
   * @param dgate [count, I, H], written, for layout SEPARATE, or null for none
   * @return a copy with it
   */
  public MoeBackward dgate(@Nullable Tensor dgate) {
    return with(Option.DGATE, dgate);
  }

  /**
   * Returns dup.
   *
   * @return [count, I, H], written, for layout SEPARATE; null if not given
   */
  public @Nullable Tensor dup() {
    return options.get(Option.DUP);
  }

  /**
   * Gives dup.
   *
   * @param dup [count, I, H], written, for layout SEPARATE, or null for none
   * @return a copy with it
   */
  public MoeBackward dup(@Nullable Tensor dup) {
    return with(Option.DUP, dup);
  }

  /**
   * Returns ddown.
   *
   * @return [count, H, I], written; null if not given
   */
  public @Nullable Tensor ddown() {
    return options.get(Option.DDOWN);
  }

  /**
   * Gives ddown.
   *
   * @param ddown [count, H, I], written, or null for none
   * @return a copy with it
   */
  public MoeBackward ddown(@Nullable Tensor ddown) {
    return with(Option.DDOWN, ddown);
  }

  /**
   * Returns dgateUpBias.
   *
   * @return [count, 2I] laid out like the bias, written; null if not given
   */
  public @Nullable Tensor dgateUpBias() {
    return options.get(Option.DGATE_UP_BIAS);
  }

  /**
   * Gives dgateUpBias.
   *
   * @param dgateUpBias [count, 2I] laid out like the bias, written, or null for none
   * @return a copy with it
   */
  public MoeBackward dgateUpBias(@Nullable Tensor dgateUpBias) {
    return with(Option.DGATE_UP_BIAS, dgateUpBias);
  }

  /**
   * Returns ddownBias.
   *
   * @return [count, H], written; null if not given
   */
  public @Nullable Tensor ddownBias() {
    return options.get(Option.DDOWN_BIAS);
  }

  /**
   * Gives ddownBias.
   *
   * @param ddownBias [count, H], written, or null for none
   * @return a copy with it
   */
  public MoeBackward ddownBias(@Nullable Tensor ddownBias) {
    return with(Option.DDOWN_BIAS, ddownBias);
  }

  /**
   * Returns dsharedGateUp.
   *
   * @return [2Is, H] laid out like the weight, written; null if not given
   */
  public @Nullable Tensor dsharedGateUp() {
    return options.get(Option.DSHARED_GATE_UP);
  }

  /**
   * Gives dsharedGateUp.
   *
   * @param dsharedGateUp [2Is, H] laid out like the weight, written, or null for none
   * @return a copy with it
   */
  public MoeBackward dsharedGateUp(@Nullable Tensor dsharedGateUp) {
    return with(Option.DSHARED_GATE_UP, dsharedGateUp);
  }

  /**
   * Returns dsharedDown.
   *
   * @return [H, Is], written; null if not given
   */
  public @Nullable Tensor dsharedDown() {
    return options.get(Option.DSHARED_DOWN);
  }

  /**
   * Gives dsharedDown.
   *
   * @param dsharedDown [H, Is], written, or null for none
   * @return a copy with it
   */
  public MoeBackward dsharedDown(@Nullable Tensor dsharedDown) {
    return with(Option.DSHARED_DOWN, dsharedDown);
  }

  /**
   * Returns dsharedGateWeight.
   *
   * @return [1, H], written; null if not given
   */
  public @Nullable Tensor dsharedGateWeight() {
    return options.get(Option.DSHARED_GATE_WEIGHT);
  }

  /**
   * Gives dsharedGateWeight.
   *
   * @param dsharedGateWeight [1, H], written, or null for none
   * @return a copy with it
   */
  public MoeBackward dsharedGateWeight(@Nullable Tensor dsharedGateWeight) {
    return with(Option.DSHARED_GATE_WEIGHT, dsharedGateWeight);
  }

  /**
   * Returns accumulate.
   *
   * @return true to add to parameter gradients rather than overwrite them
   */
  public boolean accumulate() {
    return accumulate;
  }

  /**
   * Gives accumulate.
   *
   * @param accumulate true to add to parameter gradients rather than overwrite them
   * @return a copy with it
   */
  public MoeBackward accumulate(boolean accumulate) {
    return new MoeBackward(weights, x, dy, saved, options, accumulate);
  }

  private MoeBackward with(Option option, @Nullable Tensor tensor) {
    return new MoeBackward(weights, x, dy, saved, options.with(option, tensor), accumulate);
  }
}
