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
  /** The tensors that not every mixture has. */
  private enum Option {
    GATE_UP,
    GATE,
    UP,
    GATE_UP_BIAS,
    DOWN_BIAS,
    ROUTER_WEIGHT,
    ROUTER_BIAS,
    CORRECTION_BIAS,
    SHARED_GATE_UP,
    SHARED_DOWN,
    SHARED_GATE_WEIGHT
  }

  private final Tensor down;
  private final OptionalTensors<Option> options;

  private MoeWeights(Tensor down, OptionalTensors<Option> options) {
    this.down = requireNonNull(down, "down");
    this.options = options;
  }

  /**
   * Takes the tensor that every mixture has.
   *
   * @param down [count, H, I] down projections
   * @return arguments without options
   */
  public static MoeWeights of(Tensor down) {
    return new MoeWeights(down, OptionalTensors.none(Option.class));
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
    return options.get(Option.GATE_UP);
  }

  /**
   * Gives gateUp.
   *
   * @param gateUp [count, 2I, H] gate and up projections in the layout of the spec; RELU2: [count,
   *     I, H] up, or null for none
   * @return a copy with it
   */
  public MoeWeights gateUp(@Nullable Tensor gateUp) {
    return with(Option.GATE_UP, gateUp);
  }

  /**
   * Returns gate.
   *
   * @return [count, I, H], for layout SEPARATE; null if not given
   */
  public @Nullable Tensor gate() {
    return options.get(Option.GATE);
  }

  /**
   * Gives gate.
   *
   * @param gate [count, I, H], for layout SEPARATE, or null for none
   * @return a copy with it
   */
  public MoeWeights gate(@Nullable Tensor gate) {
    return with(Option.GATE, gate);
  }

  /**
   * Returns up.
   *
   * @return [count, I, H], for layout SEPARATE; null if not given
   */
  public @Nullable Tensor up() {
    return options.get(Option.UP);
  }

  /**
   * Gives up.
   *
   * @param up [count, I, H], for layout SEPARATE, or null for none
   * @return a copy with it
   */
  public MoeWeights up(@Nullable Tensor up) {
    return with(Option.UP, up);
  }

  /**
   * Returns gateUpBias.
   *
   * @return [count, 2I] laid out like gateUp (SEPARATE: gate first; RELU2: [count, I]); null if not
   *     given
   */
  public @Nullable Tensor gateUpBias() {
    return options.get(Option.GATE_UP_BIAS);
  }

  /**
   * Gives gateUpBias.
   *
   * @param gateUpBias [count, 2I] laid out like gateUp (SEPARATE: gate first; RELU2: [count, I]),
   *     or null for none
   * @return a copy with it
   */
  public MoeWeights gateUpBias(@Nullable Tensor gateUpBias) {
    return with(Option.GATE_UP_BIAS, gateUpBias);
  }

  /**
   * Returns downBias.
   *
   * @return [count, H]; null if not given
   */
  public @Nullable Tensor downBias() {
    return options.get(Option.DOWN_BIAS);
  }

  /**
   * Gives downBias.
   *
   * @param downBias [count, H], or null for none
   * @return a copy with it
   */
  public MoeWeights downBias(@Nullable Tensor downBias) {
    return with(Option.DOWN_BIAS, downBias);
  }

  /**
   * Returns routerWeight.
   *
   * @return [E, H] in the router type; null if not given
   */
  public @Nullable Tensor routerWeight() {
    return options.get(Option.ROUTER_WEIGHT);
  }

  /**
   * Gives routerWeight.
   *
   * @param routerWeight [E, H] in the router type, or null for none
   * @return a copy with it
   */
  public MoeWeights routerWeight(@Nullable Tensor routerWeight) {
    return with(Option.ROUTER_WEIGHT, routerWeight);
  }

  /**
   * Returns routerBias.
   *
   * @return [E] in the router type; null if not given
   */
  public @Nullable Tensor routerBias() {
    return options.get(Option.ROUTER_BIAS);
  }

  /**
   * Gives routerBias.
   *
   * @param routerBias [E] in the router type, or null for none
   * @return a copy with it
   */
  public MoeWeights routerBias(@Nullable Tensor routerBias) {
    return with(Option.ROUTER_BIAS, routerBias);
  }

  /**
   * Returns correctionBias.
   *
   * @return [E] F32, added to scores for selection only; null if not given
   */
  public @Nullable Tensor correctionBias() {
    return options.get(Option.CORRECTION_BIAS);
  }

  /**
   * Gives correctionBias.
   *
   * @param correctionBias [E] F32, added to scores for selection only, or null for none
   * @return a copy with it
   */
  public MoeWeights correctionBias(@Nullable Tensor correctionBias) {
    return with(Option.CORRECTION_BIAS, correctionBias);
  }

  /**
   * Returns sharedGateUp.
   *
   * @return [2Is, H] in the layout of the spec (SEPARATE: gate first; RELU2: [Is, H]); null if not
   *     given
   */
  public @Nullable Tensor sharedGateUp() {
    return options.get(Option.SHARED_GATE_UP);
  }

  /**
   * Gives sharedGateUp.
   *
   * @param sharedGateUp [2Is, H] in the layout of the spec (SEPARATE: gate first; RELU2: [Is, H]),
   *     or null for none
   * @return a copy with it
   */
  public MoeWeights sharedGateUp(@Nullable Tensor sharedGateUp) {
    return with(Option.SHARED_GATE_UP, sharedGateUp);
  }

  /**
   * Returns sharedDown.
   *
   * @return [H, Is]; null if not given
   */
  public @Nullable Tensor sharedDown() {
    return options.get(Option.SHARED_DOWN);
  }

  /**
   * Gives sharedDown.
   *
   * @param sharedDown [H, Is], or null for none
   * @return a copy with it
   */
  public MoeWeights sharedDown(@Nullable Tensor sharedDown) {
    return with(Option.SHARED_DOWN, sharedDown);
  }

  /**
   * Returns sharedGateWeight.
   *
   * @return [1, H] in the router type: the shared expert is scaled by sigmoid(x . g); null if not
   *     given
   */
  public @Nullable Tensor sharedGateWeight() {
    return options.get(Option.SHARED_GATE_WEIGHT);
  }

  /**
   * Gives sharedGateWeight.
   *
   * @param sharedGateWeight [1, H] in the router type: the shared expert is scaled by sigmoid(x .
   *     g), or null for none
   * @return a copy with it
   */
  public MoeWeights sharedGateWeight(@Nullable Tensor sharedGateWeight) {
    return with(Option.SHARED_GATE_WEIGHT, sharedGateWeight);
  }

  private MoeWeights with(Option option, @Nullable Tensor tensor) {
    return new MoeWeights(down, options.with(option, tensor));
  }
}
