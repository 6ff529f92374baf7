package dev.weft.backend.cpu.parallel;

import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.GroupScore;
import dev.weft.moe.RouterSpec.Normalize;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The router of one token after its logits, in float64: which experts, with which weights, and the
 * gradient of the logits. For one thread.
 */
final class RouterChoice {
  // Arrays of the scratch: of numbers, then of integers.
  private static final int SCORES = 1;
  private static final int KEYS = 2;
  private static final int BEST = 3;
  private static final int NORMALIZED = 4;
  private static final int GRADIENTS = 5;
  private static final int TAKEN = 12;
  private static final int KEPT = 13;

  private final RouterSpec router;
  private final float @Nullable [] correction;
  private final int experts;
  private final int topK;
  private final double[] scores;
  private final double[] keys;
  private final double[] best;
  private final double[] normalized;
  private final double[] dscores;
  private final int[] taken;
  private final int[] kept;

  /**
   * Makes a router.
   *
   * @param correction added to scores where experts are chosen; null for nothing
   */
  RouterChoice(
      RouterSpec router,
      float @Nullable [] correction,
      int experts,
      int topK,
      TaskScratch scratch) {
    this.router = router;
    this.correction = correction;
    this.experts = experts;
    this.topK = topK;
    scores = scratch.doubles(SCORES, experts);
    keys = scratch.doubles(KEYS, experts);
    best = scratch.doubles(BEST, experts);
    normalized = scratch.doubles(NORMALIZED, topK);
    dscores = scratch.doubles(GRADIENTS, experts);
    taken = scratch.ints(TAKEN, experts);
    kept = scratch.ints(KEPT, experts);
  }

  /**
   * Routes a token.
   *
   * @param logits holds its logits, from {@code at} on
   * @param ids takes the chosen experts from {@code slot} on, best first
   * @param weights takes their weights from {@code slot} on
   */
  void choose(float[] logits, int at, int[] ids, float[] weights, int slot) {
    score(logits, at);
    // Raw logits without a correction, so that saturated scores do not become ties.
    float[] added = correction;
    for (int e = 0; e < experts; e++) {
      keys[e] = last(added == null ? logits[at + e] : scores[e] + added[e]);
    }
    if (router.groups() > 1) {
      leaveGroupsOut(added == null ? scores : keys);
    }
    take(keys, experts, ids, slot, topK);
    normalize(ids, slot);
    for (int k = 0; k < topK; k++) {
      weights[slot + k] = (float) (normalized[k] * router.scalingFactor());
    }
  }

  private void score(float[] logits, int at) {
    switch (router.score()) {
      case IDENTITY -> {
        for (int e = 0; e < experts; e++) {
          scores[e] = logits[at + e];
        }
      }
      case SIGMOID -> {
        for (int e = 0; e < experts; e++) {
          scores[e] = 1 / (1 + Math.exp(-logits[at + e]));
        }
      }
      case SOFTMAX -> {
        for (int e = 0; e < experts; e++) {
          scores[e] = logits[at + e];
        }
        softmax(scores, experts);
      }
    }
  }

  private void leaveGroupsOut(double[] groupScores) {
    int groups = router.groups();
    int size = experts / groups;
    boolean sum = router.groupScore() == GroupScore.TOP2_SUM;
    for (int group = 0; group < groups; group++) {
      double first = Double.NEGATIVE_INFINITY;
      double second = Double.NEGATIVE_INFINITY;
      for (int e = group * size; e < (group + 1) * size; e++) {
        double key = sum ? last(groupScores[e]) : keys[e];
        if (key > first) {
          second = first;
          first = key;
        } else if (key > second) {
          second = key;
        }
      }
      best[group] = sum && size > 1 ? first + second : first;
    }
    take(best, groups, kept, 0, router.topkGroups());
    // Those taken are marked.
    for (int e = 0; e < experts; e++) {
      if (taken[e / size] == 0) {
        keys[e] = Double.NEGATIVE_INFINITY;
      }
    }
  }

  /** Takes the highest keys, of equal ones the lower index, and marks them. */
  private void take(double[] from, int count, int[] into, int at, int most) {
    Arrays.fill(taken, 0, count, 0);
    for (int slot = 0; slot < most; slot++) {
      int highest = -1;
      for (int i = 0; i < count; i++) {
        if (taken[i] == 0 && (highest < 0 || from[i] > from[highest])) {
          highest = i;
        }
      }
      taken[highest] = 1;
      into[at + slot] = highest;
    }
  }

  /** NaN comes last, with minus infinity. */
  private static double last(double key) {
    return Double.isNaN(key) ? Double.NEGATIVE_INFINITY : key;
  }

  /** Weights before the factor; an id out of range has none and counts for nothing. */
  private void normalize(int[] ids, int at) {
    boolean softmax = router.normalize() == Normalize.SOFTMAX;
    double sum = 0;
    for (int slot = 0; slot < topK; slot++) {
      int id = ids[at + slot];
      boolean there = id >= 0 && id < experts;
      normalized[slot] = there ? scores[id] : softmax ? Double.NEGATIVE_INFINITY : 0;
      sum += normalized[slot];
    }
    switch (router.normalize()) {
      case NONE -> {}
      case SUM -> {
        double denominator = sum + router.epsilon();
        for (int slot = 0; slot < topK; slot++) {
          normalized[slot] = denominator == 0 ? 0 : normalized[slot] / denominator;
        }
      }
      case SOFTMAX -> softmax(normalized, topK);
    }
  }

  /**
   * Adds a token's gradient at its logits; none flows through the choice.
   *
   * @param logits holds its logits, from {@code at} on
   * @param ids its experts, from {@code first} on
   * @param dweights gradients at the weights, from {@code first} on
   * @param dlogits what is there already, from {@code at} on
   */
  void addGradient(
      float[] logits, int at, int[] ids, float[] dweights, int first, float[] dlogits) {
    score(logits, at);
    normalize(ids, first);
    double denominator = router.epsilon();
    double along = 0; // of dweights, along the normalised weights
    for (int slot = 0; slot < topK; slot++) {
      int id = ids[first + slot];
      if (id >= 0 && id < experts) {
        denominator += scores[id];
        along += dweights[first + slot] * normalized[slot];
      }
    }
    Arrays.fill(dscores, 0, experts, 0);
    for (int slot = 0; slot < topK; slot++) {
      int id = ids[first + slot];
      if (id < 0 || id >= experts) {
        continue;
      }
      double dweight = dweights[first + slot];
      double d =
          switch (router.normalize()) {
            case NONE -> dweight;
            case SUM -> denominator == 0 ? 0 : (dweight - along) / denominator;
            case SOFTMAX -> normalized[slot] * (dweight - along);
          };
      dscores[id] += router.scalingFactor() * d;
    }
    double mean = 0;
    for (int e = 0; e < experts; e++) {
      mean += dscores[e] * scores[e];
    }
    for (int e = 0; e < experts; e++) {
      double d =
          switch (router.score()) {
            case IDENTITY -> dscores[e];
            case SIGMOID ->
                dscores[e] == 0 ? 0 : dscores[e] * scores[e] / (1 + Math.exp(logits[at + e]));
            case SOFTMAX -> scores[e] * (dscores[e] - mean);
          };
      dlogits[at + e] = (float) (dlogits[at + e] + d);
    }
  }

  private static void softmax(double[] x, int count) {
    double max = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < count; i++) {
      max = x[i] > max ? x[i] : max;
    }
    double sum = 0;
    for (int i = 0; i < count; i++) {
      x[i] = Math.exp(x[i] - max);
      sum += x[i];
    }
    for (int i = 0; i < count; i++) {
      x[i] /= sum;
    }
  }
}
