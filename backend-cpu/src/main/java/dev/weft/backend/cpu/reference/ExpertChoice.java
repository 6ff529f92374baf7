package dev.weft.backend.cpu.reference;

import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.GroupScore;
import dev.weft.moe.RouterSpec.Normalize;
import dev.weft.moe.RouterSpec.Score;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Routing of one token in float64: from its logits to the experts and their weights, and back from
 * the gradients of the weights to those of the logits.
 *
 * <p>Without a correction bias experts compare by raw logit, within groups too, and groups scored
 * by their best do as well; groups scored by their two best sum scores plus bias, and one of a
 * single expert has that expert's. The keys of dropped groups are minus infinity: where fewer
 * experts stay than there are slots, the lowest of the others fill them.
 */
final class ExpertChoice {
  private ExpertChoice() {}

  /**
   * Computes scores; a NaN or an infinity gives what the formula gives.
   *
   * @param score the rule
   * @param logits of all experts
   * @return their scores
   */
  public static double[] scores(Score score, double[] logits) {
    return switch (score) {
      case IDENTITY -> logits.clone();
      case SIGMOID -> Arrays.stream(logits).map(ExpertFunction::sigmoid).toArray();
      case SOFTMAX -> softmax(logits);
    };
  }

  /**
   * Chooses topK experts by falling key.
   *
   * @param router the rules
   * @param topK how many
   * @param logits of all experts
   * @param bias the correction bias, or null
   * @return distinct experts, best first
   */
  public static int[] choose(
      RouterSpec router, int topK, double[] logits, double @Nullable [] bias) {
    double[] scores = scores(router.score(), logits);
    double[] keys = logits.clone(); // without a bias saturated scores must not reorder
    if (bias != null) {
      Arrays.setAll(keys, e -> scores[e] + bias[e]);
    }
    if (router.groups() > 1) {
      double[] groupKeys =
          router.groupScore() == GroupScore.TOP2_SUM && bias == null ? scores : keys;
      dropGroups(router, groupKeys, keys);
    }
    return best(keys, topK);
  }

  /** Sets the keys of all but the best groups to minus infinity. */
  private static void dropGroups(RouterSpec router, double[] groupKeys, double[] keys) {
    int size = keys.length / router.groups();
    double[] groupScores = new double[router.groups()];
    for (int group = 0; group < groupScores.length; group++) {
      double[] members = Arrays.copyOfRange(groupKeys, group * size, (group + 1) * size);
      Arrays.setAll(members, i -> orLast(members[i]));
      Arrays.sort(members);
      groupScores[group] = members[size - 1];
      if (router.groupScore() == GroupScore.TOP2_SUM && size > 1) {
        groupScores[group] += members[size - 2];
      }
    }
    boolean[] kept = new boolean[groupScores.length];
    for (int group : best(groupScores, router.topkGroups())) {
      kept[group] = true;
    }
    for (int e = 0; e < keys.length; e++) {
      if (!kept[e / size]) {
        keys[e] = Double.NEGATIVE_INFINITY;
      }
    }
  }

  /**
   * The indices of the count highest keys; ties, and NaN like minus infinity, lower index first.
   */
  private static int[] best(double[] keys, int count) {
    boolean[] taken = new boolean[keys.length];
    int[] chosen = new int[count];
    for (int slot = 0; slot < count; slot++) {
      int best = -1;
      for (int i = 0; i < keys.length; i++) {
        if (!taken[i] && (best < 0 || orLast(keys[i]) > orLast(keys[best]))) {
          best = i;
        }
      }
      taken[best] = true;
      chosen[slot] = best;
    }
    return chosen;
  }

  /** NaN sorts with minus infinity. */
  static double orLast(double key) {
    return Double.isNaN(key) ? Double.NEGATIVE_INFINITY : key;
  }

  /**
   * The weights of chosen experts; an id outside [0, E) has weight 0 and counts for nothing.
   *
   * @param router the rules
   * @param scores of all experts
   * @param ids the chosen experts
   * @return a weight for each
   */
  public static double[] weights(RouterSpec router, double[] scores, int[] ids) {
    double[] weights = normalized(router, scores, ids);
    for (int slot = 0; slot < weights.length; slot++) {
      weights[slot] *= router.scalingFactor();
    }
    return weights;
  }

  private static double[] normalized(RouterSpec router, double[] scores, int[] ids) {
    double[] chosen = new double[ids.length];
    double none = router.normalize() == Normalize.SOFTMAX ? Double.NEGATIVE_INFINITY : 0;
    Arrays.setAll(chosen, slot -> isExpert(ids[slot], scores) ? scores[ids[slot]] : none);
    return switch (router.normalize()) {
      case NONE -> chosen;
      case SUM -> {
        double denominator = Arrays.stream(chosen).sum() + router.epsilon();
        Arrays.setAll(chosen, slot -> denominator == 0 ? 0 : chosen[slot] / denominator);
        yield chosen;
      }
      case SOFTMAX -> softmax(chosen);
    };
  }

  /**
   * The gradient of one token's logits.
   *
   * @param router the rules
   * @param logits of all experts
   * @param ids the chosen experts
   * @param dweights the gradients of their weights
   * @return the gradients of all logits; nothing flows through the choice
   */
  public static double[] dlogits(RouterSpec router, double[] logits, int[] ids, double[] dweights) {
    double[] scores = scores(router.score(), logits);
    double[] normalized = normalized(router, scores, ids);
    double mean = 0; // of the gradients under the normalised weights
    for (int slot = 0; slot < ids.length; slot++) {
      mean += isExpert(ids[slot], scores) ? dweights[slot] * normalized[slot] : 0;
    }
    double denominator = router.epsilon();
    for (int id : ids) {
      denominator += isExpert(id, scores) ? scores[id] : 0;
    }
    double[] dscores = new double[scores.length];
    for (int slot = 0; slot < ids.length; slot++) {
      if (isExpert(ids[slot], scores)) {
        dscores[ids[slot]] +=
            router.scalingFactor()
                * switch (router.normalize()) {
                  case NONE -> dweights[slot];
                  case SUM -> denominator == 0 ? 0 : (dweights[slot] - mean) / denominator;
                  case SOFTMAX -> normalized[slot] * (dweights[slot] - mean);
                };
      }
    }
    return switch (router.score()) {
      case IDENTITY -> dscores;
      case SIGMOID -> {
        Arrays.setAll(dscores, e -> dscores[e] * scores[e] * ExpertFunction.sigmoid(-logits[e]));
        yield dscores;
      }
      case SOFTMAX -> {
        double all = 0;
        for (int e = 0; e < scores.length; e++) {
          all += dscores[e] * scores[e];
        }
        double weighted = all;
        Arrays.setAll(dscores, e -> scores[e] * (dscores[e] - weighted));
        yield dscores;
      }
    };
  }

  private static boolean isExpert(int id, double[] scores) {
    return id >= 0 && id < scores.length;
  }

  private static double[] softmax(double[] logits) {
    double max = Arrays.stream(logits).map(ExpertChoice::orLast).max().orElse(0);
    double[] p = Arrays.stream(logits).map(l -> Math.exp(l - max)).toArray();
    double sum = Arrays.stream(p).sum();
    Arrays.setAll(p, i -> p[i] / sum);
    return p;
  }
}
