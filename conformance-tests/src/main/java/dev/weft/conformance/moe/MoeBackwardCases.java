package dev.weft.conformance.moe;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;

import dev.weft.DataType;
import dev.weft.conformance.Family;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Values;
import dev.weft.conformance.moe.MoeScenario.Option;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeDispatchSpec.Mode;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/** Forward with what it saves, then backward: every gradient. */
final class MoeBackwardCases {
  private MoeBackwardCases() {}

  static Stream<MoeScenario> all() {
    List<MoeScenario> cases = new ArrayList<>();
    routers(cases);
    activations(cases);
    options(cases);
    sizes(cases);
    given(cases);
    workspaceLimits(cases);
    farRows(cases);
    return cases.stream();
  }

  private static MoeDispatchSpec.Builder spec(DataType type) {
    return MoeExpertCases.spec(type).modes(Mode.FORWARD, Mode.BACKWARD);
  }

  private static void routers(List<MoeScenario> cases) {
    DataType[] types = {F32, BF16, F32, F16};
    int n = 0;
    for (MoeRouters router : MoeRouters.values()) {
      MoeScenario scenario =
          MoeScenario.of(
              "router-" + router.text(),
              9,
              spec(types[n % types.length]).experts(16).topK(4).router(router.spec()).build());
      cases.add(n % 2 == 0 ? scenario.with(Option.SAVED_Z) : scenario);
      n++;
    }
    for (MoeRouters router :
        List.of(MoeRouters.SOFTMAX_SUM, MoeRouters.TOPK_SOFTMAX, MoeRouters.DEEPSEEK_V3)) {
      cases.add(
          MoeScenario.of(
                  "logits-" + router.text(),
                  9,
                  spec(F32).experts(16).topK(4).router(router.ofLogits()).build())
              .with(Option.AUXILIARY));
    }
    for (MoeRouters router : List.of(MoeRouters.SOFTMAX_SUM, MoeRouters.SIGMOID_SUM)) {
      cases.add(
          MoeScenario.of(
                  "logits-40-" + router.text(),
                  9,
                  spec(F32).experts(16).topK(4).router(router.ofLogits()).build())
              .family(Family.ADVERSARIAL)
              .values(
                  "givenLogits", Values.each((draw, i) -> draw.below(2 * i, 2) == 0 ? 40 : -40)));
    }
  }

  private static void activations(List<MoeScenario> cases) {
    DataType[] types = {F32, F32, BF16, F32, F16};
    int n = 0;
    for (ExpertActivation activation : ExpertActivation.values()) {
      for (GateUpLayout layout : GateUpLayout.values()) {
        if (activation.isGated() || layout == GateUpLayout.GATE_FIRST) {
          MoeScenario scenario =
              MoeScenario.of(
                  MoeExpertCases.text(activation, layout),
                  9,
                  spec(types[n % types.length])
                      .activation(activation)
                      .gateUpLayout(layout)
                      .expertBias(n % 2 == 0)
                      .build());
          cases.add(n % 3 == 0 ? scenario.with(Option.SAVED_Z) : scenario);
          n++;
        }
      }
    }
    cases.add(
        MoeScenario.of(
                "swiglu-clamped-beyond-limits",
                9,
                spec(F32)
                    .activation(ExpertActivation.SWIGLU_CLAMPED)
                    .swigluLimit(0.5f)
                    .swigluAlpha(1.25f)
                    .expertBias(true)
                    .build())
            .family(Family.ADVERSARIAL));
  }

  private static void options(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16, F16)) {
      MoeDispatchSpec shared =
          spec(type).sharedIntermediate(10).sharedGate(true).expertBias(true).build();
      cases.add(MoeScenario.of("shared-gate", 9, shared));
      cases.add(MoeScenario.of("shared", 9, spec(type).sharedIntermediate(10).build()));
      cases.add(
          MoeScenario.of("accumulate", 9, shared)
              .with(Option.ACCUMULATE)
              .with(Option.AUXILIARY)
              .with(Option.SAVED_Z));
    }
    for (GateUpLayout layout :
        List.of(GateUpLayout.UP_FIRST, GateUpLayout.INTERLEAVED, GateUpLayout.SEPARATE)) {
      cases.add(
          MoeScenario.of(
              "shared-" + MoeExpertCases.text(ExpertActivation.SWIGLU, layout),
              9,
              spec(F32).sharedIntermediate(10).gateUpLayout(layout).build()));
    }
    for (DataType type : List.of(BF16, F16)) {
      MoeDispatchSpec stored =
          spec(type).gradientType(type).sharedIntermediate(10).sharedGate(true).build();
      cases.add(MoeScenario.of("gradients-in-storage-type", 9, stored));
      cases.add(
          MoeScenario.of("gradients-in-storage-type-accumulate", 9, stored)
              .with(Option.ACCUMULATE));
    }
    record Types(DataType data, DataType weight, DataType router) {}
    for (Types types :
        List.of(new Types(F32, BF16, F32), new Types(BF16, F32, F32), new Types(F16, BF16, F32))) {
      cases.add(
          MoeScenario.of(
                  "weights-" + types.weight.text() + "-router-" + types.router.text(),
                  9,
                  spec(types.data)
                      .weightType(types.weight)
                      .routerType(types.router)
                      .expertBias(true)
                      .sharedIntermediate(8)
                      .sharedGate(true)
                      .build())
              .with(Option.SAVED_Z));
    }
    cases.add(MoeScenario.of("auxiliary", 9, spec(F32).experts(16).build()).with(Option.AUXILIARY));
    cases.add(MoeScenario.of("dx-alone", 9, spec(F32).build()).with(Option.ONLY_DX));
    cases.add(
        MoeScenario.of("parameters-alone", 9, spec(F32).build()).with(Option.ONLY_PARAMETERS));
    cases.add(MoeScenario.of("any-order", 33, spec(F32).repeatableBackward(false).build()));
    for (Placement placement : List.of(Placement.PITCHED, Placement.MISALIGNED)) {
      String text = placement == Placement.PITCHED ? "pitched" : "misaligned";
      for (DataType type : List.of(F32, BF16)) {
        cases.add(
            MoeScenario.of(
                    text,
                    9,
                    spec(type)
                        .router(MoeRouters.TOPK_SOFTMAX.spec())
                        .expertBias(true)
                        .sharedIntermediate(8)
                        .sharedGate(true)
                        .build())
                .with(Option.SAVED_Z)
                .with(Option.AUXILIARY)
                .placement(placement));
      }
    }
  }

  private static void sizes(List<MoeScenario> cases) {
    for (int tokens : new int[] {0, 1, 70}) {
      cases.add(MoeScenario.of("tokens", tokens, spec(F32).build()));
    }
    cases.add(MoeScenario.of("tokens", 40, spec(BF16).build()));
    cases.add(
        MoeScenario.of(
                "gpt-oss",
                3,
                spec(BF16)
                    .hidden(720)
                    .intermediate(45)
                    .router(MoeRouters.TOPK_SOFTMAX.spec())
                    .activation(ExpertActivation.SWIGLU_CLAMPED)
                    .gateUpLayout(GateUpLayout.INTERLEAVED)
                    .expertBias(true)
                    .build())
            .with(Option.SAVED_Z));
    cases.add(MoeScenario.of("hidden-2880", 2, spec(F32).hidden(2880).intermediate(3).build()));
    cases.add(MoeScenario.of("odd-sizes", 9, spec(F32).hidden(37).intermediate(17).build()));
    for (DataType type : List.of(F32, BF16, F16)) {
      cases.add(
          MoeScenario.of(
                  "several-tiles",
                  200,
                  spec(type)
                      .hidden(136)
                      .intermediate(132)
                      .experts(3)
                      .topK(2)
                      .expertBias(true)
                      .sharedIntermediate(150)
                      .sharedGate(true)
                      .build())
              .with(Option.AUXILIARY));
      for (int tokens : new int[] {40, 300}) {
        cases.add(
            MoeScenario.of(
                "whole-tiles",
                tokens,
                spec(type).hidden(256).intermediate(128).experts(2).topK(2).build()));
      }
      cases.add(
          MoeScenario.of(
                  "several-odd-tiles",
                  333,
                  spec(type)
                      .hidden(141)
                      .intermediate(67)
                      .experts(4)
                      .topK(2)
                      .gradientType(type)
                      .build())
              .with(Option.SAVED_Z));
    }
    for (DataType type : List.of(BF16, F16)) {
      cases.add(
          MoeScenario.of(
                  "whole-tiles-accumulate",
                  90,
                  spec(type)
                      .hidden(128)
                      .intermediate(128)
                      .experts(3)
                      .topK(2)
                      .gateUpLayout(GateUpLayout.INTERLEAVED)
                      .sharedIntermediate(128)
                      .build())
              .with(Option.ACCUMULATE)
              .with(Option.SAVED_Z));
      cases.add(
          MoeScenario.of(
              "whole-tiles-relu2",
              40,
              spec(type)
                  .hidden(128)
                  .intermediate(128)
                  .experts(3)
                  .topK(2)
                  .activation(ExpertActivation.RELU2)
                  .gradientType(type)
                  .build()));
    }
    cases.add(
        MoeScenario.of("empty-experts", 5, spec(F32).experts(60).topK(4).build())
            .with(Option.AUXILIARY));
    cases.add(
        MoeScenario.of("empty-experts-accumulate", 2, spec(F32).experts(12).build())
            .with(Option.ACCUMULATE));
    cases.add(
        MoeScenario.of(
                "one-expert-gets-all", 70, spec(F32).topK(1).router(MoeRouters.KIMI.spec()).build())
            .family(Family.ADVERSARIAL)
            .values("correctionBias", Values.each((draw, i) -> i == 5 ? 3 : 0)));
    for (int present : new int[] {0, 7}) {
      cases.add(
          MoeScenario.of(
                  "token-count-" + present,
                  12,
                  spec(F32).sharedIntermediate(6).sharedGate(true).build())
              .family(Family.ADVERSARIAL)
              .present(present)
              .with(Option.SAVED_Z)
              .with(Option.AUXILIARY));
    }
    cases.add(
        MoeScenario.of("token-count-5", 12, spec(BF16).build())
            .family(Family.ADVERSARIAL)
            .present(5));
    cases.add(
        MoeScenario.of(
            "experts-4-to-8",
            15,
            spec(F32).experts(12).topK(4).firstExpert(4).localExperts(5).build()));
    cases.add(
        MoeScenario.of(
                "experts-4-to-8",
                15,
                spec(BF16).experts(12).topK(4).firstExpert(4).localExperts(5).build())
            .with(Option.SAVED_Z));
  }

  /** Too little scratch memory for all tokens at once, but for a backend that needs none. */
  private static void workspaceLimits(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16, F16)) {
      MoeDispatchSpec limited =
          spec(type)
              .expertBias(true)
              .sharedIntermediate(10)
              .sharedGate(true)
              .workspaceLimit(1)
              .build();
      cases.add(MoeScenario.of("workspace-limit", 600, limited).with(Option.AUXILIARY));
      cases.add(
          MoeScenario.of("workspace-limit-accumulate", 300, limited)
              .with(Option.ACCUMULATE)
              .with(Option.SAVED_Z));
      // The first of several groups is full, another begun, others have no tokens.
      cases.add(
          MoeScenario.of("workspace-limit-token-count-300", 800, limited)
              .family(Family.ADVERSARIAL)
              .present(300)
              .with(Option.SAVED_Z));
    }
    cases.add(
        MoeScenario.of(
                "workspace-limit-gradients-in-storage-type",
                600,
                spec(BF16).gradientType(BF16).workspaceLimit(1).build())
            .with(Option.SAVED_Z));
    cases.add(
        MoeScenario.of(
                "workspace-limit-given",
                600,
                spec(F32)
                    .topK(3)
                    .expertBias(true)
                    .router(MoeRouters.given())
                    .firstExpert(1)
                    .localExperts(4)
                    .workspaceLimit(1)
                    .build())
            .with(Option.SAVED_Z)
            .family(Family.ADVERSARIAL)
            .values("givenIds", Values.each((draw, i) -> draw.below(i / 2, 9) - 2)));
  }

  private static void given(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16)) {
      cases.add(
          MoeScenario.of("given", 15, spec(type).router(MoeRouters.given()).build())
              .with(Option.SAVED_Z));
    }
    cases.add(
        MoeScenario.of(
                "given-skips-and-duplicates",
                15,
                spec(F32).topK(3).expertBias(true).router(MoeRouters.given()).build())
            .family(Family.ADVERSARIAL)
            .values("givenIds", Values.each((draw, i) -> draw.below(i / 2, 9) - 2)));
    cases.add(
        MoeScenario.of("given-all-skipped", 9, spec(F32).router(MoeRouters.given()).build())
            .family(Family.ADVERSARIAL)
            .values("givenIds", Values.constant(-1)));
    cases.add(
        MoeScenario.of("token-count-given", 12, spec(F32).router(MoeRouters.given()).build())
            .family(Family.ADVERSARIAL)
            .present(7));
    for (DataType type : List.of(F32, BF16, F16)) {
      MoeScenario exact =
          MoeScenario.of(
                  "relu2-given",
                  9,
                  MoeExpertCases.exact(type).modes(Mode.FORWARD, Mode.BACKWARD).build())
              .family(Family.EXACT);
      cases.add(type == F32 ? exact.with(Option.SAVED_Z) : exact);
    }
  }

  /** Rows of tokens and slots, experts' weights and gradients beyond 2^32 elements. */
  private static void farRows(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16)) {
      MoeDispatchSpec.Builder spec =
          spec(type).hidden(128).intermediate(64).experts(48).topK(2).expertBias(true);
      MoeScenario few = MoeScenario.of("beyond-2e32-elements", 24, spec.build());
      cases.add(MoeShapeCases.far(few).with(Option.SAVED_Z)); // as many slots as experts
      MoeScenario many = MoeScenario.of("beyond-2e32-elements", 192, spec.experts(8).build());
      cases.add(MoeShapeCases.far(many));
    }
    MoeDispatchSpec stored =
        spec(BF16).hidden(128).intermediate(64).experts(48).gradientType(BF16).build();
    MoeScenario scenario =
        MoeScenario.of("gradients-in-storage-type-beyond-2e32-elements", 24, stored);
    cases.add(MoeShapeCases.far(scenario).with(Option.ACCUMULATE));
  }
}
