package dev.weft.moe;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Weights of a mixture of experts, to be bound to a kernel. Which of them there must be follows
 * from the spec; expert tensors hold {@code count} experts where the spec has a local range.
 * Immutable.
 */
public final class MoeWeights {
  private final Tensor down;
  private final @Nullable Tensor gateUp;
  private final @Nullable Tensor gate;
  private final @Nullable Tensor up;
  private final @Nullable Tensor gateUpBias;
  private final @Nullable Tensor downBias;
  private final @Nullable Tensor routerWeight;
  private final @Nullable Tensor routerBias;
  private final @Nullable Tensor correctionBias;
  private final @Nullable Tensor sharedGateUp;
  private final @Nullable Tensor sharedDown;
  private final @Nullable Tensor sharedGateWeight;

  private MoeWeights(
      Tensor down,
      @Nullable Tensor gateUp,
      @Nullable Tensor gate,
      @Nullable Tensor up,
      @Nullable Tensor gateUpBias,
      @Nullable Tensor downBias,
      @Nullable Tensor routerWeight,
      @Nullable Tensor routerBias,
      @Nullable Tensor correctionBias,
      @Nullable Tensor sharedGateUp,
      @Nullable Tensor sharedDown,
      @Nullable Tensor sharedGateWeight) {
    this.down = requireNonNull(down, "down");
    this.gateUp = gateUp;
    this.gate = gate;
    this.up = up;
    this.gateUpBias = gateUpBias;
    this.downBias = downBias;
    this.routerWeight = routerWeight;
    this.routerBias = routerBias;
    this.correctionBias = correctionBias;
    this.sharedGateUp = sharedGateUp;
    this.sharedDown = sharedDown;
    this.sharedGateWeight = sharedGateWeight;
  }

  /**
   * Takes the tensor that every mixture has.
   *
   * @param down [count, H, I] down projections
   * @return arguments without options
   */
  public static MoeWeights of(Tensor down) {
    return new MoeWeights(down, null, null, null, null, null, null, null, null, null, null, null);
  }

  /**
   * Returns down.
   *
   * @return [count, H, I] down projections
   */
  public Tensor down() {
    return down;
  }

  /**
   * Returns gateUp.
   *
   * @return [count, 2I, H] gate and up projections in the layout of the spec; RELU2: [count, I, H]
   *     up; null if not given
   */
  public @Nullable Tensor gateUp() {
    return gateUp;
  }

  /**
   * Gives gateUp.
   *
   * @param gateUp [count, 2I, H] gate and up projections in the layout of the spec; RELU2: [count,
   *     I, H] up, or null for none
   * @return a copy with it
   */
  public MoeWeights gateUp(@Nullable Tensor gateUp) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns gate.
   *
   * @return [count, I, H], for layout SEPARATE; null if not given
   */
  public @Nullable Tensor gate() {
    return gate;
  }

  /**
   * Gives gate.
   *
   * @param gate [count, I, H], for layout SEPARATE, or null for none
   * @return a copy with it
   */
  public MoeWeights gate(@Nullable Tensor gate) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns up.
   *
   * @return [count, I, H], for layout SEPARATE; null if not given
   */
  public @Nullable Tensor up() {
    return up;
  }

  /**
   * Gives up.
   *
   * @param up [count, I, H], for layout SEPARATE, or null for none
   * @return a copy with it
   */
  public MoeWeights up(@Nullable Tensor up) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns gateUpBias.
   *
   * @return [count, 2I] laid out like gateUp (SEPARATE: gate first; RELU2: [count, I]); null if not
   *     given
   */
  public @Nullable Tensor gateUpBias() {
    return gateUpBias;
  }

  /**
   * Gives gateUpBias.
   *
   * @param gateUpBias [count, 2I] laid out like gateUp (SEPARATE: gate first; RELU2: [count, I]),
   *     or null for none
   * @return a copy with it
   */
  public MoeWeights gateUpBias(@Nullable Tensor gateUpBias) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns downBias.
   *
   * @return [count, H]; null if not given
   */
  public @Nullable Tensor downBias() {
    return downBias;
  }

  /**
   * Gives downBias.
   *
   * @param downBias [count, H], or null for none
   * @return a copy with it
   */
  public MoeWeights downBias(@Nullable Tensor downBias) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns routerWeight.
   *
   * @return [E, H] in the router type; null if not given
   */
  public @Nullable Tensor routerWeight() {
    return routerWeight;
  }

  /**
   * Gives routerWeight.
   *
   * @param routerWeight [E, H] in the router type, or null for none
   * @return a copy with it
   */
  public MoeWeights routerWeight(@Nullable Tensor routerWeight) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns routerBias.
   *
   * @return [E] in the router type; null if not given
   */
  public @Nullable Tensor routerBias() {
    return routerBias;
  }

  /**
   * Gives routerBias.
   *
   * @param routerBias [E] in the router type, or null for none
   * @return a copy with it
   */
  public MoeWeights routerBias(@Nullable Tensor routerBias) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns correctionBias.
   *
   * @return [E] F32, added to scores for selection only; null if not given
   */
  public @Nullable Tensor correctionBias() {
    return correctionBias;
  }

  /**
   * Gives correctionBias.
   *
   * @param correctionBias [E] F32, added to scores for selection only, or null for none
   * @return a copy with it
   */
  public MoeWeights correctionBias(@Nullable Tensor correctionBias) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns sharedGateUp.
   *
   * @return [2Is, H] in the layout of the spec (SEPARATE: gate first; RELU2: [Is, H]); null if not
   *     given
   */
  public @Nullable Tensor sharedGateUp() {
    return sharedGateUp;
  }

  /**
   * Gives sharedGateUp.
   *
   * @param sharedGateUp [2Is, H] in the layout of the spec (SEPARATE: gate first; RELU2: [Is, H]),
   *     or null for none
   * @return a copy with it
   */
  public MoeWeights sharedGateUp(@Nullable Tensor sharedGateUp) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns sharedDown.
   *
   * @return [H, Is]; null if not given
   */
  public @Nullable Tensor sharedDown() {
    return sharedDown;
  }

  /**
   * Gives sharedDown.
   *
   * @param sharedDown [H, Is], or null for none
   * @return a copy with it
   */
  public MoeWeights sharedDown(@Nullable Tensor sharedDown) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }

  /**
   * Returns sharedGateWeight.
   *
   * @return [1, H] in the router type: the shared expert is scaled by sigmoid(x . g); null if not
   *     given
   */
  public @Nullable Tensor sharedGateWeight() {
    return sharedGateWeight;
  }

  /**
   * Gives sharedGateWeight.
   *
   * @param sharedGateWeight [1, H] in the router type: the shared expert is scaled by sigmoid(x .
   *     g), or null for none
   * @return a copy with it
   */
  public MoeWeights sharedGateWeight(@Nullable Tensor sharedGateWeight) {
    return new MoeWeights(
        down,
        gateUp,
        gate,
        up,
        gateUpBias,
        downBias,
        routerWeight,
        routerBias,
        correctionBias,
        sharedGateUp,
        sharedDown,
        sharedGateWeight);
  }
}
