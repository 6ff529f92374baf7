package dev.weft.backend.cpu.reference;

import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.GroupScore;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Judges the experts that a backend chose for one token. Each key is known up to a band; a choice
 * is right if some set of groups, and the experts within it, follow from keys within their bands.
 * Keys that every implementation computes from the same bits (given logits that are equal, with
 * equal biases) are ties, which the lower index wins.
 */
final class MoeSelectionOracle {
  private final RouterSpec router;
  private final double[] keys;
  private final double[] bands;
  // What groups are scored by: the keys, or the scores where keys are raw logits.
  private final double[] groupKeys;
  private final double[] groupBands;
  // Equal where keys come from the same bits; NaN where they are known up to rounding only.
  private final double[] identity;
  private final double[] identityBias;

  /**
   * Takes a token's logits.
   *
   * @param router the rules
   * @param logits of all experts
   * @param bias the correction bias, empty if there is none
   */
  MoeSelectionOracle(RouterSpec router, Bounded logits, double[] bias) {
    this.router = router;
    RouterBounds bounds = new RouterBounds(router);
    Bounded scores = bounds.scores(logits);
    identityBias = bias.length == 0 ? new double[logits.size()] : bias;
    double[] scoreKeys = new double[logits.size()];
    Arrays.setAll(scoreKeys, e -> scores.value[e] + identityBias[e]);
    double[] scoreBands = bounds.keyBands(logits, scores, identityBias);
    boolean biased = bias.length > 0;
    keys = biased ? scoreKeys : logits.value.clone();
    bands = biased ? scoreBands : logits.error.clone();
    boolean byScore = biased || router.groupScore() == GroupScore.TOP2_SUM;
    groupKeys = byScore ? scoreKeys : keys;
    groupBands = byScore ? scoreBands : bands;
    identity = new double[logits.size()];
    for (int e = 0; e < identity.length; e++) {
      identity[e] = logits.error[e] == 0 ? logits.value[e] : Double.NaN;
      bands[e] = Double.isFinite(keys[e]) ? bands[e] : 0;
      groupBands[e] = Double.isFinite(groupKeys[e]) ? groupBands[e] : 0;
    }
  }

  /**
   * Judges a choice.
   *
   * @param ids the chosen experts, in slot order
   * @return empty if right; else the first fault
   */
  Optional<String> fault(int[] ids) {
    boolean[] chosen = new boolean[keys.length];
    for (int slot = 0; slot < ids.length; slot++) {
      if (ids[slot] < 0 || ids[slot] >= keys.length) {
        return Optional.of(
            "slot "
                + slot
                + ": expected an expert of 0.."
                + (keys.length - 1)
                + ", but was "
                + ids[slot]);
      }
      if (chosen[ids[slot]]) {
        return Optional.of("slot " + slot + ": expert " + ids[slot] + " was chosen before");
      }
      chosen[ids[slot]] = true;
    }
    if (router.groups() == 1) {
      return fault(ids, chosen, new boolean[] {true});
    }
    Optional<String> first = Optional.empty();
    for (boolean[] kept : possibleGroups()) {
      Optional<String> fault = fault(ids, chosen, kept);
      if (fault.isEmpty()) {
        return fault;
      }
      first = first.isEmpty() ? fault : first;
    }
    return first;
  }

  private Optional<String> fault(int[] ids, boolean[] chosen, boolean[] kept) {
    for (int slot = 0; slot < ids.length; slot++) {
      for (int later = slot + 1; later < ids.length; later++) {
        if (!mayPrecede(ids[slot], ids[later], kept)) {
          return Optional.of(
              "slot "
                  + slot
                  + ": expert "
                  + text(ids[slot], kept)
                  + " stands before expert "
                  + text(ids[later], kept)
                  + " of slot "
                  + later);
        }
      }
      for (int e = 0; e < keys.length; e++) {
        if (!chosen[e] && !mayPrecede(ids[slot], e, kept)) {
          return Optional.of(
              "slot "
                  + slot
                  + ": expert "
                  + text(ids[slot], kept)
                  + " was chosen, but not expert "
                  + text(e, kept));
        }
      }
    }
    return Optional.empty();
  }

  private boolean mayPrecede(int a, int b, boolean[] kept) {
    double keyA = key(a, kept);
    double keyB = key(b, kept);
    boolean lastA = keyA == Double.NEGATIVE_INFINITY;
    boolean lastB = keyB == Double.NEGATIVE_INFINITY;
    if (lastA || lastB) {
      return lastB && (!lastA || a < b);
    }
    boolean exactTie =
        keyA == keyB
            && ((bands[a] == 0 && bands[b] == 0)
                || (identity[a] == identity[b] && identityBias[a] == identityBias[b]));
    return exactTie ? a < b : keyA + bands[a] >= keyB - bands[b];
  }

  private double key(int e, boolean[] kept) {
    return kept[e / (keys.length / kept.length)]
        ? ExpertChoice.orLast(keys[e])
        : Double.NEGATIVE_INFINITY;
  }

  private String text(int e, boolean[] kept) {
    return e + " (key " + key(e, kept) + " +- " + bands[e] + ")";
  }

  /** Every set of groups that may be the best ones. */
  private List<boolean[]> possibleGroups() {
    int groups = router.groups();
    int size = keys.length / groups;
    double[] low = new double[groups];
    double[] high = new double[groups];
    boolean[] exact = new boolean[groups];
    for (int group = 0; group < groups; group++) {
      low[group] = score(group * size, size, -1);
      high[group] = score(group * size, size, 1);
      exact[group] = low[group] == high[group];
    }
    List<boolean[]> sets = new ArrayList<>();
    extend(sets, new boolean[groups], 0, router.topkGroups(), low, high, exact);
    return sets;
  }

  private double score(int from, int size, int sign) {
    double[] members = new double[size];
    Arrays.setAll(
        members, i -> ExpertChoice.orLast(groupKeys[from + i]) + sign * groupBands[from + i]);
    Arrays.sort(members);
    return router.groupScore() == GroupScore.TOP2_SUM && size > 1
        ? members[size - 1] + members[size - 2]
        : members[size - 1];
  }

  private void extend(
      List<boolean[]> sets,
      boolean[] kept,
      int group,
      int left,
      double[] low,
      double[] high,
      boolean[] exact) {
    if (left == 0) {
      if (isPossible(kept, low, high, exact)) {
        sets.add(kept.clone());
      }
      return;
    }
    if (kept.length - group < left) {
      return;
    }
    kept[group] = true;
    extend(sets, kept, group + 1, left - 1, low, high, exact);
    kept[group] = false;
    extend(sets, kept, group + 1, left, low, high, exact);
  }

  private boolean isPossible(boolean[] kept, double[] low, double[] high, boolean[] exact) {
    for (int in = 0; in < kept.length; in++) {
      for (int out = 0; kept[in] && out < kept.length; out++) {
        if (!kept[out]) {
          boolean tie = low[in] == low[out] && high[in] == high[out] && sameBits(in, out, exact);
          if (tie ? in > out : high[in] < low[out]) {
            return false;
          }
        }
      }
    }
    return true;
  }

  /** Whether two groups' scores come from the same bits, so that a tie is a tie for all. */
  private boolean sameBits(int a, int b, boolean[] exact) {
    if (exact[a] && exact[b]) {
      return true;
    }
    int size = keys.length / router.groups();
    for (int i = 0; i < size; i++) {
      if (identity[a * size + i] != identity[b * size + i]
          || identityBias[a * size + i] != identityBias[b * size + i]) {
        return false;
      }
    }
    return true;
  }
}
