package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeWeights;
import org.jspecify.annotations.Nullable;

/**
 * The weights of the routed experts, or of the shared one, where they lie, whatever their layout.
 *
 * @param type of all of them
 * @param experts how many
 * @param hidden H
 * @param width I
 * @param gate [experts, I, H]; none where there is no gate
 * @param up [experts, I, H]
 * @param down [experts, H, I]
 * @param gateBias [experts, I], or none
 * @param upBias [experts, I], or none
 * @param downBias [experts, H], or none
 */
public record ExpertWeights(
    DataType type,
    int experts,
    int hidden,
    int width,
    WeightRows gate,
    WeightRows up,
    WeightRows down,
    WeightRows gateBias,
    WeightRows upBias,
    WeightRows downBias) {

  /** The routed experts of the local range. */
  static ExpertWeights routed(MoeDispatchSpec spec, MoeWeights weights) {
    int bytes = spec.weightType().bytes();
    int width = spec.intermediate();
    WeightRows both = WeightRows.of(weights.gateUp(), true);
    WeightRows bothBias = WeightRows.ofBias(weights.gateUpBias());
    boolean separate = spec.gateUpLayout() == GateUpLayout.SEPARATE;
    return new ExpertWeights(
        spec.weightType(),
        spec.localExperts(),
        spec.hidden(),
        width,
        separate ? WeightRows.of(weights.gate(), true) : gate(spec, both, width, bytes),
        separate ? WeightRows.of(weights.up(), true) : up(spec, both, width, bytes),
        WeightRows.of(weights.down(), true),
        gate(spec, bothBias, width, bytes),
        up(spec, bothBias, width, bytes),
        WeightRows.ofBias(weights.downBias()));
  }

  /** The shared expert, as one expert without biases; null where there is none. */
  static @Nullable ExpertWeights shared(MoeDispatchSpec spec, MoeWeights weights) {
    if (spec.sharedIntermediate() == 0) {
      return null;
    }
    int bytes = spec.weightType().bytes();
    int width = spec.sharedIntermediate();
    WeightRows both = WeightRows.of(weights.sharedGateUp(), false);
    return new ExpertWeights(
        spec.weightType(),
        1,
        spec.hidden(),
        width,
        gate(spec, both, width, bytes),
        up(spec, both, width, bytes),
        WeightRows.of(weights.sharedDown(), false),
        WeightRows.NONE,
        WeightRows.NONE,
        WeightRows.NONE);
  }

  /** The gate's part of a tensor that holds both. */
  static WeightRows gate(MoeDispatchSpec spec, WeightRows both, int width, int bytes) {
    if (!spec.activation().isGated()) {
      return WeightRows.NONE;
    }
    return switch (spec.gateUpLayout()) {
      case GATE_FIRST, SEPARATE -> both.every(1, 0, bytes);
      case UP_FIRST -> both.every(1, width, bytes);
      case INTERLEAVED -> both.every(2, 0, bytes);
    };
  }

  /** The other part; all of it where there is no gate. */
  static WeightRows up(MoeDispatchSpec spec, WeightRows both, int width, int bytes) {
    if (!spec.activation().isGated()) {
      return both;
    }
    return switch (spec.gateUpLayout()) {
      case GATE_FIRST, SEPARATE -> both.every(1, width, bytes);
      case UP_FIRST -> both.every(1, 0, bytes);
      case INTERLEAVED -> both.every(2, 1, bytes);
    };
  }

  /** Whether rows of the first projection start at multiples of 16 bytes. */
  public boolean projectAligned() {
    return gate.isAligned(type.bytes()) && up.isAligned(type.bytes());
  }

  /** Whether rows of the second projection start at multiples of 16 bytes. */
  public boolean downAligned() {
    return down.isAligned(type.bytes());
  }

  /** Whether all rows start at multiples of 16 bytes. */
  boolean isAligned() {
    return projectAligned() && downAligned();
  }

  /** Whether the activation has a gate. */
  public boolean isGated() {
    return gate.isPresent();
  }
}
