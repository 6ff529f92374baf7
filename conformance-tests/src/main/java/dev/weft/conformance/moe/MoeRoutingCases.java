package dev.weft.conformance.moe;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;

import dev.weft.DataType;
import dev.weft.conformance.Family;
import dev.weft.conformance.Values;
import dev.weft.conformance.moe.MoeScenario.Option;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * Which experts, and with which weights: every router, its ties, extremes and degenerate inputs.
 */
final class MoeRoutingCases {
  private MoeRoutingCases() {}

  static Stream<MoeScenario> all() {
    List<MoeScenario> cases = new ArrayList<>();
    routers(cases);
    models(cases);
    extremes(cases);
    ties(cases);
    given(cases);
    return cases.stream();
  }

  private static MoeDispatchSpec.Builder spec(DataType type, int experts, int topK) {
    return MoeDispatchSpec.builder()
        .dataType(type)
        .hidden(32)
        .intermediate(16)
        .experts(experts)
        .topK(topK);
  }

  /** Every router, over x in F32 and over given logits, in turn in the narrow types. */
  private static void routers(List<MoeScenario> cases) {
    DataType[] narrow = {BF16, F16};
    int n = 0;
    for (MoeRouters router : MoeRouters.values()) {
      cases.add(
          MoeScenario.of(
              "router-" + router.text(), 17, spec(F32, 16, 4).router(router.spec()).build()));
      cases.add(
          MoeScenario.of(
              "router-" + router.text(),
              17,
              spec(narrow[n++ % 2], 16, 3).router(router.spec()).build()));
      cases.add(
          MoeScenario.of(
              "logits-" + router.text(), 9, spec(F32, 24, 5).router(router.ofLogits()).build()));
    }
  }

  /** Numbers of experts and slots as models have them. */
  private static void models(List<MoeScenario> cases) {
    record Model(String name, MoeRouters router, int experts, int topK, DataType type) {}
    for (Model model :
        List.of(
            new Model("mixtral", MoeRouters.SOFTMAX_SUM, 8, 2, BF16),
            new Model("qwen2", MoeRouters.SOFTMAX, 60, 4, F32),
            new Model("olmoe", MoeRouters.SOFTMAX, 64, 8, F16),
            new Model("qwen3", MoeRouters.SOFTMAX_SUM, 128, 8, BF16),
            new Model("deepseek-v2", MoeRouters.DEEPSEEK_V2, 160, 6, F32),
            new Model("deepseek-v3", MoeRouters.DEEPSEEK_V3, 256, 8, F32),
            new Model("kimi-k2", MoeRouters.KIMI, 384, 8, F32),
            new Model("kimi-k2", MoeRouters.KIMI, 384, 8, BF16),
            new Model("qwen3-next", MoeRouters.SOFTMAX_SUM, 512, 10, F32),
            new Model("many-experts", MoeRouters.SOFTMAX, 700, 8, F32))) {
      cases.add(
          MoeScenario.of(
              model.name,
              7,
              spec(model.type, model.experts, model.topK)
                  .intermediate(8)
                  .router(model.router.spec())
                  .build()));
    }
  }

  /** Logits that saturate, are not numbers, or leave nothing to choose. */
  private static void extremes(List<MoeScenario> cases) {
    Values forty = Values.each((draw, i) -> draw.below(2 * i, 2) == 0 ? 40 : -40);
    Values saturated = Values.each((draw, i) -> 30 + (draw.bits(i) & 63));
    for (MoeRouters router :
        List.of(
            MoeRouters.SOFTMAX_SUM,
            MoeRouters.SOFTMAX,
            MoeRouters.SIGMOID_SUM,
            MoeRouters.SIGMOID,
            MoeRouters.TOPK_SOFTMAX,
            MoeRouters.DEEPSEEK_V3)) {
      MoeDispatchSpec spec = spec(F32, 16, 4).router(router.ofLogits()).build();
      cases.add(adversarial("logits-40-" + router.text(), spec).values("givenLogits", forty));
      // Every sigmoid is 1 here, and every softmax but one 0: only raw logits tell them apart.
      cases.add(
          adversarial("logits-saturated-" + router.text(), spec).values("givenLogits", saturated));
    }
    Values large = Values.normal(1e4);
    cases.add(
        adversarial("logits-1e4", spec(F32, 16, 4).router(MoeRouters.SOFTMAX.ofLogits()).build())
            .values("givenLogits", large));
    // NaN and minus infinity come last; token 0 has one number only, token 1 none at all.
    for (MoeRouters router : List.of(MoeRouters.SIGMOID, MoeRouters.SIGMOID_SUM, MoeRouters.KIMI)) {
      cases.add(
          adversarial(
                  "logits-nan-" + router.text(), spec(F32, 12, 3).router(router.ofLogits()).build())
              .values("givenLogits", holes(12, Double.NaN, 3)));
    }
    for (MoeRouters router :
        List.of(
            MoeRouters.SOFTMAX_SUM,
            MoeRouters.SIGMOID_SUM,
            MoeRouters.DEEPSEEK_V3,
            MoeRouters.SIGMOID_GROUPS)) {
      cases.add(
          adversarial(
                  "logits-minus-infinity-" + router.text(),
                  spec(F32, 16, 4).router(router.ofLogits()).build())
              .values("givenLogits", holes(16, Double.NEGATIVE_INFINITY, 1)));
    }
    // Biases far below zero: the keys of kept groups are negative, those of others minus infinity,
    // not 0.
    for (MoeRouters router : List.of(MoeRouters.DEEPSEEK_V3, MoeRouters.IDENTITY_GROUPS)) {
      cases.add(
          adversarial(
                  "negative-keys-" + router.text(), spec(F32, 16, 4).router(router.spec()).build())
              .values("correctionBias", Values.uniform(-9, -3)));
    }
    cases.add(
        adversarial(
                "more-slots-than-kept-experts",
                spec(F32, 16, 4)
                    .router(
                        RouterSpec.builder()
                            .score(RouterSpec.Score.SIGMOID)
                            .correctionBias(true)
                            .groups(8, 1, RouterSpec.GroupScore.BEST)
                            .build())
                    .build())
            .values("correctionBias", Values.normal(1)));
    cases.add(
        adversarial(
            "groups-of-one",
            spec(F32, 8, 3)
                .router(
                    RouterSpec.builder()
                        .score(RouterSpec.Score.SIGMOID)
                        .correctionBias(true)
                        .groups(8, 4, RouterSpec.GroupScore.TOP2_SUM)
                        .normalize(RouterSpec.Normalize.SUM)
                        .build())
                .build()));
    cases.add(
        adversarial("every-expert", spec(F32, 6, 6).router(MoeRouters.SOFTMAX_SUM.spec()).build()));
    cases.add(
        adversarial("one-expert", spec(F32, 1, 1).router(MoeRouters.SOFTMAX_SUM.spec()).build()));
  }

  private static MoeScenario adversarial(String feature, MoeDispatchSpec spec) {
    return MoeScenario.of(feature, 11, spec).family(Family.ADVERSARIAL);
  }

  /** Normal logits of which about a third are holes; in token 0 all but some are. */
  private static Values holes(int experts, double hole, int left) {
    return Values.each((draw, i) -> {
      boolean first = i / experts == 0;
      boolean kept = first ? i % experts >= experts - left : draw.below(2 * i, 3) > 0;
      return kept ? draw.normal(2 * i + 1) : hole;
    });
  }

  /** Equal logits: the lower expert, in order. */
  private static void ties(List<MoeScenario> cases) {
    for (MoeRouters router :
        List.of(
            MoeRouters.SOFTMAX_SUM,
            MoeRouters.SIGMOID,
            MoeRouters.TOPK_SOFTMAX,
            MoeRouters.DEEPSEEK_V2,
            MoeRouters.DEEPSEEK_V3,
            MoeRouters.SIGMOID_GROUPS)) {
      MoeDispatchSpec spec = spec(F32, 16, 4).router(router.ofLogits()).build();
      cases.add(
          MoeScenario.of("logits-equal-" + router.text(), 5, spec)
              .family(Family.TIES)
              .values("x", Values.normal(1))
              .values("givenLogits", Values.constant(0.75))
              .values("correctionBias", Values.constant(0.25)));
      cases.add(
          MoeScenario.of("logits-tied-" + router.text(), 9, spec)
              .family(Family.TIES)
              .values("x", Values.normal(1))
              .values("givenLogits", Values.each((draw, i) -> draw.below(i, 3)))
              .values("correctionBias", Values.each((draw, i) -> draw.below(i, 2) * 0.5)));
    }
    cases.add(
        MoeScenario.of(
                "router-of-equal-rows",
                9,
                spec(BF16, 16, 4).router(MoeRouters.SOFTMAX_SUM.spec()).build())
            .family(Family.TIES));
  }

  /** Ids and weights from the caller. */
  private static void given(List<MoeScenario> cases) {
    for (DataType type : List.of(F32, BF16, F16)) {
      MoeDispatchSpec spec = spec(type, 10, 3).router(MoeRouters.given()).build();
      cases.add(MoeScenario.of("given", 17, spec));
      cases.add(
          MoeScenario.of("given-out-of-range", 17, spec)
              .family(Family.ADVERSARIAL)
              .values("givenIds", Values.each((draw, i) -> draw.below(i, 16) - 3)));
    }
    MoeDispatchSpec spec = spec(F32, 10, 3).router(MoeRouters.given()).build();
    cases.add(
        MoeScenario.of("given-all-skipped", 9, spec)
            .family(Family.ADVERSARIAL)
            .values("givenIds", Values.constant(-1)));
    cases.add(
        MoeScenario.of(
                "given-all-skipped-shared", 9, spec.toBuilder().sharedIntermediate(8).build())
            .family(Family.ADVERSARIAL)
            .values("givenIds", Values.constant(-1)));
    cases.add(
        MoeScenario.of("given-extreme-ids", 9, spec)
            .family(Family.ADVERSARIAL)
            .values(
                "givenIds",
                Values.each((draw, i) ->
                    switch (draw.below(i, 4)) {
                      case 0 -> Integer.MAX_VALUE;
                      case 1 -> Integer.MIN_VALUE;
                      case 2 -> 10;
                      default -> 9;
                    })));
    cases.add(
        MoeScenario.of("given-duplicates", 9, spec)
            .family(Family.ADVERSARIAL)
            .values("givenIds", Values.each((draw, i) -> draw.below(i / 2, 10))));
    cases.add(
        MoeScenario.of("given-one-expert-gets-all", 33, spec)
            .family(Family.ADVERSARIAL)
            .values("givenIds", Values.constant(7)));
    cases.add(
        MoeScenario.of("given-weights-of-any-sign", 9, spec)
            .values("givenWeights", Values.normal(3)));
    cases.add(MoeScenario.of("given-y-alone", 9, spec).with(Option.BARE));
    cases.add(
        MoeScenario.of("y-alone", 9, spec(F32, 16, 4).router(MoeRouters.DEEPSEEK_V3.spec()).build())
            .with(Option.BARE));
  }
}
