package dev.weft.backend.cpu.parallel;

import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.GroupScore;
import dev.weft.moe.RouterSpec.Normalize;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The router of one token after its logits, in float64: which experts, with which weights, and the
 * gradient of the logits. Immutable, for use by several threads.
 */
final class RouterChoice {
  private final RouterSpec router;
  private final float @Nullable [] correction;

  RouterChoice(RouterSpec router, float @Nullable [] correction) {
    this.router = router;
    this.correction = correction;
  }

  /**
   * Routes a token.
   *
   * @param ids takes the chosen experts, best first
   * @param weights takes their weights
   */
  void choose(float[] logits, int[] ids, float[] weights) {
    double[] scores = scores(logits);
    double[] keys = keys(logits, scores);
    if (router.groups() > 1) {
      leaveGroupsOut(keys, correction == null ? scores : keys);
    }
    take(keys, ids);
    double[] normalized = normalized(scores, ids);
    for (int slot = 0; slot < ids.length; slot++) {
      weights[slot] = (float) (normalized[slot] * router.scalingFactor());
    }
  }

  private double[] scores(float[] logits) {
    double[] scores = new double[logits.length];
    switch (router.score()) {
      case IDENTITY -> Arrays.setAll(scores, e -> logits[e]);
      case SIGMOID -> Arrays.setAll(scores, e -> 1 / (1 + Math.exp(-logits[e])));
      case SOFTMAX -> {
        Arrays.setAll(scores, e -> logits[e]);
        softmax(scores);
      }
    }
    return scores;
  }

  /** Raw logits without a correction, so that saturated scores do not become ties. */
  private double[] keys(float[] logits, double[] scores) {
    float[] added = correction;
    double[] keys = new double[logits.length];
    Arrays.setAll(keys, e -> last(added == null ? logits[e] : scores[e] + added[e]));
    return keys;
  }

  private void leaveGroupsOut(double[] keys, double[] scores) {
    int size = keys.length / router.groups();
    boolean sum = router.groupScore() == GroupScore.TOP2_SUM;
    double[] best = new double[router.groups()];
    for (int group = 0; group < best.length; group++) {
      double first = Double.NEGATIVE_INFINITY;
      double second = Double.NEGATIVE_INFINITY;
      for (int e = group * size; e < (group + 1) * size; e++) {
        double key = sum ? last(scores[e]) : keys[e];
        if (key > first) {
          second = first;
          first = key;
        } else if (key > second) {
          second = key;
        }
      }
      best[group] = sum && size > 1 ? first + second : first;
    }
    int[] kept = new int[router.topkGroups()];
    take(best, kept);
    boolean[] stays = new boolean[best.length];
    for (int group : kept) {
      stays[group] = true;
    }
    for (int e = 0; e < keys.length; e++) {
      if (!stays[e / size]) {
        keys[e] = Double.NEGATIVE_INFINITY;
      }
    }
  }

  /** Takes the highest keys, of equal ones the lower index. */
  private static void take(double[] keys, int[] into) {
    boolean[] taken = new boolean[keys.length];
    for (int slot = 0; slot < into.length; slot++) {
      int best = -1;
      for (int i = 0; i < keys.length; i++) {
        if (!taken[i] && (best < 0 || keys[i] > keys[best])) {
          best = i;
        }
      }
      taken[best] = true;
      into[slot] = best;
    }
  }

  /** NaN comes last, with minus infinity. */
  private static double last(double key) {
    return Double.isNaN(key) ? Double.NEGATIVE_INFINITY : key;
  }

  /** Weights before the factor; an id out of range has none and counts for nothing. */
  private double[] normalized(double[] scores, int[] ids) {
    double[] weights = new double[ids.length];
    boolean softmax = router.normalize() == Normalize.SOFTMAX;
    double sum = 0;
    for (int slot = 0; slot < ids.length; slot++) {
      boolean there = ids[slot] >= 0 && ids[slot] < scores.length;
      weights[slot] = there ? scores[ids[slot]] : softmax ? Double.NEGATIVE_INFINITY : 0;
      sum += weights[slot];
    }
    switch (router.normalize()) {
      case NONE -> {}
      case SUM -> {
        double denominator = sum + router.epsilon();
        for (int slot = 0; slot < weights.length; slot++) {
          weights[slot] = denominator == 0 ? 0 : weights[slot] / denominator;
        }
      }
      case SOFTMAX -> softmax(weights);
    }
    return weights;
  }

  /**
   * Adds a token's gradient at its logits; none flows through the choice.
   *
   * @param dweights gradients at the weights
   * @param dlogits what is there already
   */
  void addGradient(float[] logits, int[] ids, float[] dweights, float[] dlogits) {
    double[] scores = scores(logits);
    double[] normalized = normalized(scores, ids);
    double denominator = router.epsilon();
    double along = 0; // of dweights, along the normalised weights
    for (int slot = 0; slot < ids.length; slot++) {
      if (ids[slot] >= 0 && ids[slot] < scores.length) {
        denominator += scores[ids[slot]];
        along += dweights[slot] * normalized[slot];
      }
    }
    double[] dscores = new double[scores.length];
    for (int slot = 0; slot < ids.length; slot++) {
      if (ids[slot] < 0 || ids[slot] >= scores.length) {
        continue;
      }
      double d =
          switch (router.normalize()) {
            case NONE -> dweights[slot];
            case SUM -> denominator == 0 ? 0 : (dweights[slot] - along) / denominator;
            case SOFTMAX -> normalized[slot] * (dweights[slot] - along);
          };
      dscores[ids[slot]] += router.scalingFactor() * d;
    }
    double mean = 0;
    for (int e = 0; e < scores.length; e++) {
      mean += dscores[e] * scores[e];
    }
    for (int e = 0; e < scores.length; e++) {
      double d =
          switch (router.score()) {
            case IDENTITY -> dscores[e];
            case SIGMOID ->
                dscores[e] == 0 ? 0 : dscores[e] * scores[e] / (1 + Math.exp(logits[e]));
            case SOFTMAX -> scores[e] * (dscores[e] - mean);
          };
      dlogits[e] = (float) (dlogits[e] + d);
    }
  }

  private static void softmax(double[] x) {
    double max = Double.NEGATIVE_INFINITY;
    for (double v : x) {
      max = v > max ? v : max;
    }
    double sum = 0;
    for (int i = 0; i < x.length; i++) {
      x[i] = Math.exp(x[i] - max);
      sum += x[i];
    }
    for (int i = 0; i < x.length; i++) {
      x[i] /= sum;
    }
  }
}
