package dev.weft.conformance.moe;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;

import dev.weft.DataType;
import dev.weft.conformance.Family;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Profile;
import dev.weft.conformance.Values;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeDispatchSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/** Sizes, padding, layouts in memory, parts of the experts, uneven loads. */
final class MoeShapeCases {
  private MoeShapeCases() {}

  static Stream<MoeScenario> all() {
    List<MoeScenario> cases = new ArrayList<>();
    sizes(cases);
    padding(cases);
    placements(cases);
    ranges(cases);
    loads(cases);
    workspaceLimits(cases);
    farRows(cases);
    return cases.stream();
  }

  private static MoeDispatchSpec.Builder spec(DataType type) {
    return MoeExpertCases.spec(type);
  }

  private static void sizes(List<MoeScenario> cases) {
    for (int tokens : new int[] {0, 1, 2, 7, 33, 129}) {
      cases.add(MoeScenario.of("tokens", tokens, spec(F32).build()));
    }
    for (int tokens : new int[] {0, 1, 65}) {
      cases.add(MoeScenario.of("tokens", tokens, spec(BF16).build()));
    }
    cases.add(MoeScenario.of("tokens", 5, spec(F16).build()));
    // Sizes of gpt-oss and odd ones: no tile divides them.
    cases.add(
        MoeScenario.of(
            "gpt-oss",
            3,
            spec(BF16)
                .hidden(2880)
                .intermediate(45)
                .experts(8)
                .topK(4)
                .router(MoeRouters.TOPK_SOFTMAX.spec())
                .activation(ExpertActivation.SWIGLU_CLAMPED)
                .gateUpLayout(GateUpLayout.INTERLEAVED)
                .expertBias(true)
                .build()));
    cases.add(MoeScenario.of("hidden-2880", 3, spec(F32).hidden(2880).build()));
    cases.add(MoeScenario.of("intermediate-2880", 3, spec(F32).intermediate(2880).build()));
    for (int width : new int[] {1, 3, 17, 33}) {
      cases.add(
          MoeScenario.of("odd-intermediate", 9, spec(F32).hidden(20).intermediate(width).build()));
      cases.add(
          MoeScenario.of(
              "odd-intermediate",
              9,
              spec(width == 17 ? F16 : BF16).hidden(40).intermediate(width).build()));
    }
    for (int hidden : new int[] {1, 5, 37}) {
      cases.add(MoeScenario.of("odd-hidden", 9, spec(F32).hidden(hidden).build()));
    }
    cases.add(MoeScenario.of("odd-hidden", 9, spec(BF16).hidden(37).intermediate(19).build()));
    wholeTiles(cases);
    fewRows(cases);
  }

  /** Sizes that tiles divide, for kernels that have forms of their own for them: few rows, more. */
  private static void wholeTiles(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16, F16)) {
      for (int tokens : new int[] {9, 40, 300}) {
        MoeDispatchSpec.Builder spec =
            spec(type).hidden(256).intermediate(128).experts(2).topK(2).sharedIntermediate(128);
        cases.add(MoeScenario.of("whole-tiles", tokens, spec.build()));
      }
      cases.add(
          MoeScenario.of(
              "whole-tiles-separate",
              300,
              spec(type)
                  .hidden(256)
                  .intermediate(256)
                  .experts(2)
                  .topK(2)
                  .gateUpLayout(GateUpLayout.SEPARATE)
                  .expertBias(true)
                  .build()));
    }
  }

  /**
   * Few tokens, in sizes that let kernels read rows in pieces of 16 bytes; asked for y alone, so
   * that a backend need not sort.
   */
  private static void fewRows(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16, F16)) {
      for (int tokens : new int[] {1, 3}) {
        cases.add(few("few-rows", tokens, spec(type).hidden(72).intermediate(40).topK(3)));
      }
      cases.add(
          few(
              "few-rows-experts-2-to-9",
              1,
              spec(type)
                  .hidden(264)
                  .intermediate(200)
                  .experts(16)
                  .topK(8)
                  .firstExpert(2)
                  .localExperts(8)
                  .activation(ExpertActivation.SWIGLU_CLAMPED)
                  .gateUpLayout(GateUpLayout.INTERLEAVED)
                  .expertBias(true)));
      cases.add(
          few(
                  "few-rows-given-duplicates-and-skips",
                  1,
                  spec(type)
                      .hidden(136)
                      .intermediate(24)
                      .topK(6)
                      .activation(ExpertActivation.RELU2)
                      .router(MoeRouters.given()))
              .family(Family.ADVERSARIAL)
              .values("givenIds", Values.each((draw, i) -> draw.below(i / 2, 8) - 1)));
      cases.add(
          few("few-rows-token-count-0", 1, spec(type).hidden(72).intermediate(40))
              .family(Family.ADVERSARIAL)
              .present(0));
    }
    for (DataType type : List.of(BF16, F16)) {
      for (int tokens : new int[] {1, 8, 33}) {
        cases.add(
            few(
                "few-rows-many-experts",
                tokens,
                spec(type).hidden(328).intermediate(184).experts(48).topK(8)));
      }
      // A third of the slots are one expert's: more than kernels may have rows for at once.
      cases.add(
          few(
                  "few-rows-of-one-expert",
                  20,
                  spec(type)
                      .hidden(136)
                      .intermediate(48)
                      .experts(16)
                      .topK(3)
                      .expertBias(true)
                      .router(MoeRouters.given()))
              .family(Family.ADVERSARIAL)
              .values(
                  "givenIds", Values.each((draw, i) -> i % 3 == 1 ? 5 : draw.below(i, 18) - 1)));
      cases.add(
          few(
                  "few-rows-token-count-4",
                  7,
                  spec(type)
                      .hidden(264)
                      .intermediate(40)
                      .experts(16)
                      .topK(8)
                      .firstExpert(2)
                      .localExperts(14)
                      .activation(ExpertActivation.RELU2))
              .family(Family.ADVERSARIAL)
              .present(4));
    }
  }

  private static MoeScenario few(String feature, int tokens, MoeDispatchSpec.Builder spec) {
    return MoeScenario.of(feature, tokens, spec.build()).with(MoeScenario.Option.BARE);
  }

  private static void padding(List<MoeScenario> cases) {
    for (int present : new int[] {0, 1, 8, 12}) {
      cases.add(
          MoeScenario.of("token-count-" + present, 12, spec(F32).sharedIntermediate(6).build())
              .family(Family.ADVERSARIAL)
              .present(present));
    }
    cases.add(
        MoeScenario.of("token-count-5", 12, spec(BF16).build())
            .family(Family.ADVERSARIAL)
            .present(5));
    cases.add(
        MoeScenario.of("token-count-given", 12, spec(F32).router(MoeRouters.given()).build())
            .family(Family.ADVERSARIAL)
            .present(7));
    cases.add(
        MoeScenario.of(
                "token-count-logits",
                12,
                spec(F32).experts(16).router(MoeRouters.DEEPSEEK_V3.ofLogits()).build())
            .family(Family.ADVERSARIAL)
            .present(7));
  }

  private static void placements(List<MoeScenario> cases) {
    for (Placement placement : List.of(Placement.PITCHED, Placement.MISALIGNED)) {
      String text = placement == Placement.PITCHED ? "pitched" : "misaligned";
      for (DataType type : List.of(F32, BF16, F16)) {
        cases.add(
            MoeScenario.of(
                    text,
                    9,
                    spec(type)
                        .expertBias(true)
                        .sharedIntermediate(8)
                        .sharedGate(true)
                        .router(MoeRouters.TOPK_SOFTMAX.spec())
                        .build())
                .placement(placement));
      }
      cases.add(
          MoeScenario.of(
                  text + "-separate",
                  9,
                  spec(BF16)
                      .experts(16)
                      .gateUpLayout(GateUpLayout.SEPARATE)
                      .router(MoeRouters.KIMI.ofLogits())
                      .build())
              .placement(placement));
    }
  }

  /** Some of the experts only; the router knows all. */
  private static void ranges(List<MoeScenario> cases) {
    record Range(int first, int count) {}
    for (Range range : List.of(new Range(0, 4), new Range(4, 5), new Range(9, 3))) {
      cases.add(
          MoeScenario.of(
              "experts-" + range.first + "-to-" + (range.first + range.count - 1),
              15,
              spec(F32)
                  .experts(12)
                  .topK(4)
                  .firstExpert(range.first)
                  .localExperts(range.count)
                  .build()));
    }
    cases.add(
        MoeScenario.of(
            "experts-3-to-5",
            15,
            spec(BF16)
                .experts(12)
                .topK(4)
                .firstExpert(3)
                .localExperts(3)
                .sharedIntermediate(8)
                .build()));
    cases.add(
        MoeScenario.of(
                "experts-3-to-5-given",
                15,
                spec(F32).router(MoeRouters.given()).firstExpert(3).localExperts(3).build())
            .family(Family.ADVERSARIAL)
            .values("givenIds", Values.each((draw, i) -> draw.below(i, 9) - 2)));
  }

  /** One expert gets all tokens, the others none. */
  private static void loads(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16)) {
      // A large bias sends every token to expert 5 first.
      cases.add(
          MoeScenario.of(
                  "one-expert-gets-all",
                  70,
                  spec(type).topK(1).router(MoeRouters.KIMI.spec()).build())
              .family(Family.ADVERSARIAL)
              .values("correctionBias", Values.each((draw, i) -> i == 5 ? 3 : 0)));
      cases.add(
          MoeScenario.of(
                  "empty-experts",
                  21,
                  spec(type).experts(40).router(MoeRouters.KIMI.spec()).build())
              .family(Family.ADVERSARIAL)
              .values("correctionBias", Values.each((draw, i) -> i % 13 == 4 ? 3 : 0)));
    }
  }

  /** Too little scratch memory for all tokens at once, but for a backend that needs none. */
  private static void workspaceLimits(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16, F16)) {
      MoeDispatchSpec limited =
          spec(type).sharedIntermediate(8).sharedGate(true).workspaceLimit(1).build();
      cases.add(MoeScenario.of("workspace-limit", 600, limited));
      cases.add(
          MoeScenario.of("workspace-limit-token-count-300", 800, limited)
              .family(Family.ADVERSARIAL)
              .present(300));
    }
  }

  /** Rows of tokens and experts' weights beyond 2^32 elements: few rows for each expert, many. */
  private static void farRows(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16)) {
      MoeDispatchSpec.Builder spec =
          spec(type).hidden(128).intermediate(64).experts(48).topK(2).expertBias(true);
      cases.add(far(MoeScenario.of("beyond-2e32-elements", 48, spec.build())));
      cases.add(far(MoeScenario.of("beyond-2e32-elements", 384, spec.experts(8).build())));
      // Without outputs of the router: kernels for few tokens need no sorting then.
      cases.add(
          far(
              few(
                  "few-rows-beyond-2e32-elements",
                  2,
                  spec(type).hidden(128).intermediate(64).experts(48).topK(8))));
    }
  }

  /** Places a scenario so. */
  static MoeScenario far(MoeScenario scenario) {
    return scenario.placement(Placement.FAR).with(Profile.LARGE);
  }
}
