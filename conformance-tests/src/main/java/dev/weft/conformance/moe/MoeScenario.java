package dev.weft.conformance.moe;

import dev.weft.conformance.Family;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Profile;
import dev.weft.conformance.Values;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeDispatchSpec.Mode;
import dev.weft.moe.RouterSpec.Source;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/**
 * What a MoE case consists of: a spec, sizes, which optional tensors there are and what inputs
 * hold. Immutable; each setter returns a copy.
 */
final class MoeScenario {
  /** Options of a launch that are off unless named. */
  enum Option {
    /** Ask for y alone: no ids, weights, logits or counts. */
    BARE,
    /** Forward saves z. */
    SAVED_Z,
    /** Backward adds to parameter gradients. */
    ACCUMULATE,
    /** Backward gets gradients of auxiliary losses. */
    AUXILIARY,
    /** Backward is asked for dx alone. */
    ONLY_DX,
    /** Backward is asked for parameter gradients alone. */
    ONLY_PARAMETERS
  }

  final MoeDispatchSpec spec;
  final String feature;
  final Family family;
  final Placement placement;
  final int tokens;
  final int present; // tokens that are there; -1 without a token count
  final Set<Option> options;
  private final Map<String, Values> values;
  private final Set<Profile> profiles;

  private MoeScenario(
      MoeDispatchSpec spec,
      String feature,
      Family family,
      Placement placement,
      int tokens,
      int present,
      Set<Option> options,
      Map<String, Values> values,
      Set<Profile> profiles) {
    this.spec = spec;
    this.feature = feature;
    this.family = family;
    this.placement = placement;
    this.tokens = tokens;
    this.present = present;
    this.options = options;
    this.values = values;
    this.profiles = profiles;
  }

  static MoeScenario of(String feature, int tokens, MoeDispatchSpec spec) {
    return new MoeScenario(
        spec,
        feature,
        Family.RANDOM,
        Placement.CONTIGUOUS,
        tokens,
        -1,
        EnumSet.noneOf(Option.class),
        Map.of(),
        EnumSet.noneOf(Profile.class));
  }

  MoeScenario family(Family other) {
    return new MoeScenario(
        spec, feature, other, placement, tokens, present, options, values, profiles);
  }

  MoeScenario placement(Placement other) {
    return new MoeScenario(
        spec, feature, family, other, tokens, present, options, values, profiles);
  }

  /** Gives a token count: rows from it on are padding and hold NaN. */
  MoeScenario present(int count) {
    return new MoeScenario(
        spec, feature, family, placement, tokens, count, options, values, profiles);
  }

  MoeScenario with(Option option) {
    Set<Option> more = EnumSet.noneOf(Option.class);
    more.addAll(options);
    more.add(option);
    return new MoeScenario(
        spec, feature, family, placement, tokens, present, more, values, profiles);
  }

  MoeScenario with(Profile profile) {
    Set<Profile> more = EnumSet.noneOf(Profile.class);
    more.addAll(profiles);
    more.add(profile);
    return new MoeScenario(
        spec, feature, family, placement, tokens, present, options, values, more);
  }

  /** Sets what a tensor holds. */
  MoeScenario values(String tensor, Values other) {
    Map<String, Values> more = new HashMap<>(values);
    more.put(tensor, other);
    return new MoeScenario(
        spec, feature, family, placement, tokens, present, options, more, profiles);
  }

  boolean is(Option option) {
    return options.contains(option);
  }

  /** Whether results match bit for bit. */
  boolean isExact() {
    return family == Family.EXACT;
  }

  boolean isTraining() {
    return spec.modes().contains(Mode.BACKWARD);
  }

  boolean isGiven() {
    return spec.router().source() == Source.GIVEN;
  }

  Profile[] profiles() {
    Set<Profile> all = EnumSet.noneOf(Profile.class);
    all.addAll(profiles);
    if (isTraining()) {
      all.add(Profile.TRAINING);
    }
    return all.toArray(Profile[]::new);
  }

  /** The tokens that are there. */
  int rows() {
    return present < 0 ? tokens : present;
  }

  /** What a tensor holds: as set, else by the family, scaled so that results are of order 1. */
  Values valuesOf(String tensor) {
    Values set = values.get(tensor);
    if (set != null) {
      return set;
    }
    return switch (tensor) {
      case "routerWeight", "sharedGateWeight" -> scaled(1.5 / Math.sqrt(spec.hidden()));
      case "gateUp", "gate", "up", "sharedGateUp" -> scaled(1 / Math.sqrt(spec.hidden()));
      case "down" -> scaled(1 / Math.sqrt(spec.intermediate()));
      case "sharedDown" -> scaled(1 / Math.sqrt(Math.max(1, spec.sharedIntermediate())));
      case "gateUpBias", "downBias", "routerBias" -> scaled(0.5);
      case "correctionBias", "auxiliaryDlogits" -> Values.normal(0.2);
      case "givenLogits" -> Values.normal(2);
      case "givenWeights" -> isExact() ? Values.powersOfTwo() : Values.uniform(0.05, 1);
      case "givenIds" -> Values.each((draw, i) -> draw.below(i, spec.experts()));
      default -> isExact() ? signs(2, 3) : family.draws(); // x, dy, what is added to
    };
  }

  private Values scaled(double scale) {
    if (isExact()) {
      return signs(1, 4);
    }
    return switch (family) {
      case TIES -> Values.ties();
      case RAMP -> Values.ramp().times(4 * scale);
      case RANDOM, EXACT, LARGE, TINY, ADVERSARIAL -> Values.normal(scale);
    };
  }

  /** One of -1, 0 and 1, not 0 in part of all. */
  private static Values signs(int part, int all) {
    return Values.each(
        (draw, i) -> draw.below(2 * i, all) < part ? 2 * draw.below(2 * i + 1, 2) - 1 : 0);
  }

  String sizes() {
    String text =
        "T="
            + tokens
            + ",H="
            + spec.hidden()
            + ",I="
            + spec.intermediate()
            + ",E="
            + spec.experts()
            + ",k="
            + spec.topK();
    return spec.sharedIntermediate() > 0 ? text + ",Is=" + spec.sharedIntermediate() : text;
  }

  /** About what the oracle computes: projections there and back. */
  long flops() {
    long slots = (long) tokens * spec.topK();
    long experts =
        2L * spec.hidden() * (spec.projected() + spec.intermediate()) * slots
            + 2L * spec.hidden() * (spec.sharedProjected() + spec.sharedIntermediate()) * tokens;
    long router = spec.router().hasLogits() ? 2L * tokens * spec.hidden() * spec.experts() : 0;
    return (isTraining() ? 4 : 1) * (experts + router);
  }
}
