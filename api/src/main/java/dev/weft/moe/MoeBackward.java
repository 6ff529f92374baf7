package dev.weft.moe;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a mixture-of-experts backward pass. Each gradient is optional and skipped where not
 * asked for; those of experts without tokens are zeros. Immutable.
 */
public final class MoeBackward {
  private final MoeBinding weights;
  private final Tensor x;
  private final Tensor dy;
  private final MoeSaved saved;
  private final @Nullable Tensor tokenCount;
  private final @Nullable Tensor auxiliaryDlogits;
  private final @Nullable Tensor dx;
  private final @Nullable Tensor dlogits;
  private final @Nullable Tensor dgivenWeights;
  private final @Nullable Tensor drouterWeight;
  private final @Nullable Tensor drouterBias;
  private final @Nullable Tensor dgateUp;
  private final @Nullable Tensor dgate;
  private final @Nullable Tensor dup;
  private final @Nullable Tensor ddown;
  private final @Nullable Tensor dgateUpBias;
  private final @Nullable Tensor ddownBias;
  private final @Nullable Tensor dsharedGateUp;
  private final @Nullable Tensor dsharedDown;
  private final @Nullable Tensor dsharedGateWeight;
  private final boolean accumulate;

  private MoeBackward(
      MoeBinding weights,
      Tensor x,
      Tensor dy,
      MoeSaved saved,
      @Nullable Tensor tokenCount,
      @Nullable Tensor auxiliaryDlogits,
      @Nullable Tensor dx,
      @Nullable Tensor dlogits,
      @Nullable Tensor dgivenWeights,
      @Nullable Tensor drouterWeight,
      @Nullable Tensor drouterBias,
      @Nullable Tensor dgateUp,
      @Nullable Tensor dgate,
      @Nullable Tensor dup,
      @Nullable Tensor ddown,
      @Nullable Tensor dgateUpBias,
      @Nullable Tensor ddownBias,
      @Nullable Tensor dsharedGateUp,
      @Nullable Tensor dsharedDown,
      @Nullable Tensor dsharedGateWeight,
      boolean accumulate) {
    this.weights = requireNonNull(weights, "weights");
    this.x = requireNonNull(x, "x");
    this.dy = requireNonNull(dy, "dy");
    this.saved = requireNonNull(saved, "saved");
    this.tokenCount = tokenCount;
    this.auxiliaryDlogits = auxiliaryDlogits;
    this.dx = dx;
    this.dlogits = dlogits;
    this.dgivenWeights = dgivenWeights;
    this.drouterWeight = drouterWeight;
    this.drouterBias = drouterBias;
    this.dgateUp = dgateUp;
    this.dgate = dgate;
    this.dup = dup;
    this.ddown = ddown;
    this.dgateUpBias = dgateUpBias;
    this.ddownBias = ddownBias;
    this.dsharedGateUp = dsharedGateUp;
    this.dsharedDown = dsharedDown;
    this.dsharedGateWeight = dsharedGateWeight;
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
    return new MoeBackward(
        weights, x, dy, saved, null, null, null, null, null, null, null, null, null, null, null,
        null, null, null, null, null, false);
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
    return tokenCount;
  }

  /**
   * Gives tokenCount.
   *
   * @param tokenCount [1] I32 on the device, as for forward, or null for none
   * @return a copy with it
   */
  public MoeBackward tokenCount(@Nullable Tensor tokenCount) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns auxiliaryDlogits.
   *
   * @return [T, E] F32, read: gradients of auxiliary losses, added before the router backward; null
   *     if not given
   */
  public @Nullable Tensor auxiliaryDlogits() {
    return auxiliaryDlogits;
  }

  /**
   * Gives auxiliaryDlogits.
   *
   * @param auxiliaryDlogits [T, E] F32, read: gradients of auxiliary losses, added before the
   *     router backward, or null for none
   * @return a copy with it
   */
  public MoeBackward auxiliaryDlogits(@Nullable Tensor auxiliaryDlogits) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dx.
   *
   * @return [T, H] in the activation type, written; null if not given
   */
  public @Nullable Tensor dx() {
    return dx;
  }

  /**
   * Gives dx.
   *
   * @param dx [T, H] in the activation type, written, or null for none
   * @return a copy with it
   */
  public MoeBackward dx(@Nullable Tensor dx) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dlogits.
   *
   * @return [T, E] F32, written: the gradient of the logits, for Source.LOGITS and for inspection;
   *     null if not given
   */
  public @Nullable Tensor dlogits() {
    return dlogits;
  }

  /**
   * Gives dlogits.
   *
   * @param dlogits [T, E] F32, written: the gradient of the logits, for Source.LOGITS and for
   *     inspection, or null for none
   * @return a copy with it
   */
  public MoeBackward dlogits(@Nullable Tensor dlogits) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dgivenWeights.
   *
   * @return [T, topK] F32, written, for Source.GIVEN; null if not given
   */
  public @Nullable Tensor dgivenWeights() {
    return dgivenWeights;
  }

  /**
   * Gives dgivenWeights.
   *
   * @param dgivenWeights [T, topK] F32, written, for Source.GIVEN, or null for none
   * @return a copy with it
   */
  public MoeBackward dgivenWeights(@Nullable Tensor dgivenWeights) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns drouterWeight.
   *
   * @return [E, H], written; null if not given
   */
  public @Nullable Tensor drouterWeight() {
    return drouterWeight;
  }

  /**
   * Gives drouterWeight.
   *
   * @param drouterWeight [E, H], written, or null for none
   * @return a copy with it
   */
  public MoeBackward drouterWeight(@Nullable Tensor drouterWeight) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns drouterBias.
   *
   * @return [E], written; null if not given
   */
  public @Nullable Tensor drouterBias() {
    return drouterBias;
  }

  /**
   * Gives drouterBias.
   *
   * @param drouterBias [E], written, or null for none
   * @return a copy with it
   */
  public MoeBackward drouterBias(@Nullable Tensor drouterBias) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dgateUp.
   *
   * @return [count, 2I, H] laid out like the weight (RELU2: [count, I, H]), written; null if not
   *     given
   */
  public @Nullable Tensor dgateUp() {
    return dgateUp;
  }

  /**
   * Gives dgateUp.
   *
   * @param dgateUp [count, 2I, H] laid out like the weight (RELU2: [count, I, H]), written, or null
   *     for none
   * @return a copy with it
   */
  public MoeBackward dgateUp(@Nullable Tensor dgateUp) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dgate.
   *
   * @return [count, I, H], written, for layout SEPARATE; null if not given
   */
  public @Nullable Tensor dgate() {
    return dgate;
  }

  /**
   * Gives dgate.
   *
   * @param dgate [count, I, H], written, for layout SEPARATE, or null for none
   * @return a copy with it
   */
  public MoeBackward dgate(@Nullable Tensor dgate) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dup.
   *
   * @return [count, I, H], written, for layout SEPARATE; null if not given
   */
  public @Nullable Tensor dup() {
    return dup;
  }

  /**
   * Gives dup.
   *
   * @param dup [count, I, H], written, for layout SEPARATE, or null for none
   * @return a copy with it
   */
  public MoeBackward dup(@Nullable Tensor dup) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns ddown.
   *
   * @return [count, H, I], written; null if not given
   */
  public @Nullable Tensor ddown() {
    return ddown;
  }

  /**
   * Gives ddown.
   *
   * @param ddown [count, H, I], written, or null for none
   * @return a copy with it
   */
  public MoeBackward ddown(@Nullable Tensor ddown) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dgateUpBias.
   *
   * @return [count, 2I] laid out like the bias, written; null if not given
   */
  public @Nullable Tensor dgateUpBias() {
    return dgateUpBias;
  }

  /**
   * Gives dgateUpBias.
   *
   * @param dgateUpBias [count, 2I] laid out like the bias, written, or null for none
   * @return a copy with it
   */
  public MoeBackward dgateUpBias(@Nullable Tensor dgateUpBias) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns ddownBias.
   *
   * @return [count, H], written; null if not given
   */
  public @Nullable Tensor ddownBias() {
    return ddownBias;
  }

  /**
   * Gives ddownBias.
   *
   * @param ddownBias [count, H], written, or null for none
   * @return a copy with it
   */
  public MoeBackward ddownBias(@Nullable Tensor ddownBias) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dsharedGateUp.
   *
   * @return [2Is, H] laid out like the weight, written; null if not given
   */
  public @Nullable Tensor dsharedGateUp() {
    return dsharedGateUp;
  }

  /**
   * Gives dsharedGateUp.
   *
   * @param dsharedGateUp [2Is, H] laid out like the weight, written, or null for none
   * @return a copy with it
   */
  public MoeBackward dsharedGateUp(@Nullable Tensor dsharedGateUp) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dsharedDown.
   *
   * @return [H, Is], written; null if not given
   */
  public @Nullable Tensor dsharedDown() {
    return dsharedDown;
  }

  /**
   * Gives dsharedDown.
   *
   * @param dsharedDown [H, Is], written, or null for none
   * @return a copy with it
   */
  public MoeBackward dsharedDown(@Nullable Tensor dsharedDown) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }

  /**
   * Returns dsharedGateWeight.
   *
   * @return [1, H], written; null if not given
   */
  public @Nullable Tensor dsharedGateWeight() {
    return dsharedGateWeight;
  }

  /**
   * Gives dsharedGateWeight.
   *
   * @param dsharedGateWeight [1, H], written, or null for none
   * @return a copy with it
   */
  public MoeBackward dsharedGateWeight(@Nullable Tensor dsharedGateWeight) {
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
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
    return new MoeBackward(
        weights,
        x,
        dy,
        saved,
        tokenCount,
        auxiliaryDlogits,
        dx,
        dlogits,
        dgivenWeights,
        drouterWeight,
        drouterBias,
        dgateUp,
        dgate,
        dup,
        ddown,
        dgateUpBias,
        ddownBias,
        dsharedGateUp,
        dsharedDown,
        dsharedGateWeight,
        accumulate);
  }
}
