package dev.weft.conformance.moe;

import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.GroupScore;
import dev.weft.moe.RouterSpec.Normalize;
import dev.weft.moe.RouterSpec.Score;
import dev.weft.moe.RouterSpec.Source;
import java.util.Locale;

/** The routers that models have, and those that show what a rule of the contract means. */
enum MoeRouters {
  /** Mixtral, Qwen3: softmax over all, the chosen renormalised. */
  SOFTMAX_SUM(RouterSpec.builder().score(Score.SOFTMAX).normalize(Normalize.SUM)),
  /** OLMoE: softmax over all, used as it is. */
  SOFTMAX(RouterSpec.builder().score(Score.SOFTMAX)),
  /** gpt-oss: biased logits, softmax over the chosen. */
  TOPK_SOFTMAX(
      RouterSpec.builder().score(Score.IDENTITY).routerBias(true).normalize(Normalize.SOFTMAX)),
  /** DeepSeek-V3: biased sigmoid, 4 of 8 groups by their two best, renormalised, 2.5. */
  DEEPSEEK_V3(
      RouterSpec.builder()
          .score(Score.SIGMOID)
          .correctionBias(true)
          .groups(8, 4, GroupScore.TOP2_SUM)
          .normalize(Normalize.SUM)
          .epsilon(1e-20f)
          .scalingFactor(2.5f)),
  /** DeepSeek-V2: softmax, 3 of 8 groups by their best, 16. */
  DEEPSEEK_V2(
      RouterSpec.builder().score(Score.SOFTMAX).groups(8, 3, GroupScore.BEST).scalingFactor(16)),
  /** Kimi-K2: biased sigmoid, no groups, renormalised, 2.827. */
  KIMI(
      RouterSpec.builder()
          .score(Score.SIGMOID)
          .correctionBias(true)
          .normalize(Normalize.SUM)
          .scalingFactor(2.827f)),
  /** Sigmoid, renormalised over a guarded sum. */
  SIGMOID_SUM(RouterSpec.builder().score(Score.SIGMOID).normalize(Normalize.SUM).epsilon(1e-6f)),
  /** Llama 4: sigmoid. */
  SIGMOID(RouterSpec.builder().score(Score.SIGMOID)),
  /** Softmax with a bias for selection: keys of softmax scores. */
  SOFTMAX_BIASED(
      RouterSpec.builder().score(Score.SOFTMAX).correctionBias(true).normalize(Normalize.SUM)),
  /** Softmax of sigmoid scores. */
  SIGMOID_SOFTMAX(RouterSpec.builder().score(Score.SIGMOID).normalize(Normalize.SOFTMAX)),
  /** Softmax of softmax scores. */
  SOFTMAX_SOFTMAX(RouterSpec.builder().score(Score.SOFTMAX).normalize(Normalize.SOFTMAX)),
  /** Raw logits as weights, some of them negative. */
  IDENTITY(RouterSpec.builder().score(Score.IDENTITY).scalingFactor(0.5f)),
  /** Biased raw logits in groups. */
  IDENTITY_GROUPS(
      RouterSpec.builder()
          .score(Score.IDENTITY)
          .correctionBias(true)
          .groups(4, 2, GroupScore.TOP2_SUM)
          .normalize(Normalize.SOFTMAX)),
  /** Sigmoid in groups without a bias: groups by their two best scores, experts by raw logit. */
  SIGMOID_GROUPS(
      RouterSpec.builder()
          .score(Score.SIGMOID)
          .groups(4, 2, GroupScore.TOP2_SUM)
          .normalize(Normalize.SUM));

  @SuppressWarnings("ImmutableEnumChecker") // it is immutable, but not annotated so
  private final RouterSpec spec;

  MoeRouters(RouterSpec.Builder builder) {
    this.spec = builder.build();
  }

  /** The router over x. */
  RouterSpec spec() {
    return spec;
  }

  /** The same rules over given logits. */
  RouterSpec ofLogits() {
    RouterSpec.Builder logits =
        RouterSpec.builder()
            .source(Source.LOGITS)
            .score(spec.score())
            .correctionBias(spec.correctionBias())
            .normalize(spec.normalize())
            .epsilon(spec.epsilon())
            .scalingFactor(spec.scalingFactor());
    return spec.groups() == 1
        ? logits.build()
        : logits.groups(spec.groups(), spec.topkGroups(), spec.groupScore()).build();
  }

  /** Ids and weights that the caller gives. */
  static RouterSpec given() {
    return RouterSpec.builder().source(Source.GIVEN).build();
  }

  /** The name in case ids. */
  String text() {
    return name().toLowerCase(Locale.ROOT).replace('_', '-');
  }
}
