package dev.weft.conformance.moe;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;

import dev.weft.DataType;
import dev.weft.conformance.Family;
import dev.weft.conformance.Values;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeDispatchSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;

/** What the experts compute: activations, layouts, biases, types, the shared expert. */
final class MoeExpertCases {
  private MoeExpertCases() {}

  static Stream<MoeScenario> all() {
    List<MoeScenario> cases = new ArrayList<>();
    activations(cases);
    clamps(cases);
    shared(cases);
    types(cases);
    families(cases);
    return cases.stream();
  }

  static MoeDispatchSpec.Builder spec(DataType type) {
    return MoeDispatchSpec.builder()
        .dataType(type)
        .hidden(24)
        .intermediate(12)
        .experts(6)
        .topK(2)
        .router(MoeRouters.SOFTMAX_SUM.spec());
  }

  /** The name of a combination in case ids. */
  static String text(ExpertActivation activation, GateUpLayout layout) {
    return (activation + "-" + layout).toLowerCase(Locale.ROOT).replace('_', '-');
  }

  /** Every activation with every layout, biases in every other; the types in turn. */
  private static void activations(List<MoeScenario> cases) {
    DataType[] types = {F32, BF16, F32, F16, BF16};
    int n = 0;
    for (ExpertActivation activation : ExpertActivation.values()) {
      for (GateUpLayout layout : GateUpLayout.values()) {
        if (activation.isGated() || layout == GateUpLayout.GATE_FIRST) {
          cases.add(
              MoeScenario.of(
                  text(activation, layout),
                  13,
                  spec(types[n % types.length])
                      .activation(activation)
                      .gateUpLayout(layout)
                      .expertBias(n % 2 == 0)
                      .build()));
          n++;
        }
      }
    }
    for (DataType type : List.of(F32, F16)) {
      cases.add(
          MoeScenario.of(
              "relu2-biases",
              13,
              spec(type).activation(ExpertActivation.RELU2).expertBias(true).build()));
    }
    // Numbers that encode their place show a row or a half in the wrong place at once.
    for (GateUpLayout layout : GateUpLayout.values()) {
      cases.add(
          MoeScenario.of(
                  text(ExpertActivation.SWIGLU, layout),
                  7,
                  spec(F32).gateUpLayout(layout).expertBias(true).sharedIntermediate(5).build())
              .family(Family.RAMP));
    }
  }

  /** Gates and ups on both sides of the limits. */
  private static void clamps(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16)) {
      cases.add(
          MoeScenario.of(
                  "swiglu-clamped-beyond-limits",
                  13,
                  spec(type)
                      .activation(ExpertActivation.SWIGLU_CLAMPED)
                      .swigluLimit(0.5f)
                      .swigluAlpha(1.25f)
                      .gateUpLayout(GateUpLayout.INTERLEAVED)
                      .expertBias(true)
                      .build())
              .family(Family.ADVERSARIAL));
    }
    for (ExpertActivation activation :
        List.of(ExpertActivation.SWIGLU, ExpertActivation.GEGLU, ExpertActivation.GEGLU_TANH)) {
      cases.add(
          MoeScenario.of(
                  activation.name().toLowerCase(Locale.ROOT).replace('_', '-') + "-saturated",
                  13,
                  spec(F32).activation(activation).build())
              .family(Family.ADVERSARIAL)
              .values("x", Values.normal(30)));
    }
  }

  private static void shared(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16, F16)) {
      cases.add(MoeScenario.of("shared", 11, spec(type).sharedIntermediate(20).build()));
      cases.add(
          MoeScenario.of(
              "shared-gate", 11, spec(type).sharedIntermediate(20).sharedGate(true).build()));
    }
    cases.add(
        MoeScenario.of(
            "shared-clamped-interleaved",
            11,
            spec(F32)
                .sharedIntermediate(7)
                .sharedGate(true)
                .activation(ExpertActivation.SWIGLU_CLAMPED)
                .gateUpLayout(GateUpLayout.INTERLEAVED)
                .build()));
    cases.add(
        MoeScenario.of(
            "shared-separate",
            11,
            spec(F32).sharedIntermediate(9).gateUpLayout(GateUpLayout.SEPARATE).build()));
    cases.add(
        MoeScenario.of(
            "shared-relu2",
            11,
            spec(F32).sharedIntermediate(9).activation(ExpertActivation.RELU2).build()));
    // Kimi-K2 and DeepSeek-V3 add theirs to the routed part.
    cases.add(
        MoeScenario.of(
            "shared-kimi",
            11,
            spec(BF16)
                .experts(48)
                .topK(8)
                .router(MoeRouters.KIMI.spec())
                .sharedIntermediate(12)
                .build()));
  }

  /** Activations, expert weights and router in types of their own. */
  private static void types(List<MoeScenario> cases) {
    record Types(DataType data, DataType weight, DataType router) {}
    for (Types types :
        List.of(
            new Types(F32, BF16, F32),
            new Types(F32, F16, BF16),
            new Types(BF16, BF16, F32),
            new Types(BF16, F32, F32),
            new Types(BF16, F16, BF16),
            new Types(F16, F16, F32),
            new Types(F16, BF16, F16))) {
      cases.add(
          MoeScenario.of(
              "weights-" + types.weight.text() + "-router-" + types.router.text(),
              11,
              spec(types.data)
                  .weightType(types.weight)
                  .routerType(types.router)
                  .router(MoeRouters.TOPK_SOFTMAX.spec())
                  .expertBias(true)
                  .sharedIntermediate(8)
                  .sharedGate(true)
                  .build()));
    }
  }

  private static void families(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16, F16)) {
      cases.add(MoeScenario.of("relu2-given", 15, exact(type).build()).family(Family.EXACT));
    }
    cases.add(
        MoeScenario.of("relu2-given-duplicates-and-skips", 15, exact(F32).expertBias(true).build())
            .family(Family.EXACT)
            .values("givenIds", Values.each((draw, i) -> draw.below(i / 2, 8) - 1)));
    cases.add(MoeScenario.of("large", 11, spec(F32).build()).family(Family.LARGE));
    cases.add(MoeScenario.of("large", 11, spec(BF16).build()).family(Family.LARGE));
    for (DataType type : List.of(F32, BF16, F16)) {
      cases.add(MoeScenario.of("tiny", 11, spec(type).build()).family(Family.TINY));
    }
  }

  /** RELU2 with given power-of-two weights: exact whatever the order of summation. */
  static MoeDispatchSpec.Builder exact(DataType type) {
    return MoeDispatchSpec.builder()
        .dataType(type)
        .hidden(16)
        .intermediate(12)
        .experts(7)
        .topK(3)
        .router(MoeRouters.given())
        .activation(ExpertActivation.RELU2);
  }
}
