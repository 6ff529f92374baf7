package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.Source;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Where tokens go: per token its logits (none if the routing is given), its experts and their
 * weights, a row of each array. Logits are float32 sums; from them on a token's routing is computed
 * in float64 and its weights rounded to float32.
 */
@SuppressWarnings("ArrayRecordComponent") // large, and compared by nobody
record MoeRouting(float[] logits, int[] ids, float[] weights) {
  private static final int LANES = Arithmetic.LANES;
  private static final int TASK = 16;
  private static final int SUMS = 8;

  // Arrays of a launch's scratch.
  private static final int LOGITS = 0;
  private static final int WEIGHTS = 1;
  private static final int CORRECTION = 2;
  private static final int BIAS = 3;
  private static final int IDS = 0;
  private static final int ALL = 1;
  private static final int STARTS = 2;
  private static final int NEXT = 3;
  private static final int PERMUTATION = 4;
  private static final int TOKENS = 5;

  /**
   * Routes all tokens.
   *
   * @param scratch the launch's; holds the result
   */
  static MoeRouting of(
      MoeDispatchSpec spec,
      Compute compute,
      MoeForward arguments,
      MatrixRows x,
      int tokens,
      TaskScratch scratch) {
    RouterSpec router = spec.router();
    int topK = spec.topK();
    int experts = spec.experts();
    int[] ids = scratch.ints(IDS, Math.multiplyExact(tokens, topK));
    float[] routing = scratch.floats(WEIGHTS, tokens * topK);
    if (router.source() == Source.GIVEN) {
      MoeRows.read(Objects.requireNonNull(arguments.givenIds()), tokens, ids);
      MoeRows.read(compute, Objects.requireNonNull(arguments.givenWeights()), tokens, routing);
      return new MoeRouting(scratch.floats(LOGITS, 0), ids, routing);
    }
    MoeWeights weights = arguments.weights().weights();
    float[] logits = scratch.floats(LOGITS, Math.multiplyExact(tokens, experts));
    if (router.source() == Source.LOGITS) {
      MoeRows.read(compute, Objects.requireNonNull(arguments.givenLogits()), tokens, logits);
    } else {
      project(spec, compute, weights, x, tokens, logits, scratch);
    }
    float[] correction = correction(spec, weights, scratch);
    compute.share(
        Math.ceilDiv(tokens, TASK),
        (own, mine) -> {
          RouterChoice choice = new RouterChoice(router, correction, experts, topK, mine);
          for (int task = own.next(); task >= 0; task = own.next()) {
            for (int t = task * TASK; t < Math.min(tokens, (task + 1) * TASK); t++) {
              choice.choose(logits, t * experts, ids, routing, t * topK);
            }
          }
        });
    return new MoeRouting(logits, ids, routing);
  }

  /** What is added to scores where experts are chosen; null for nothing. */
  static float @Nullable [] correction(
      MoeDispatchSpec spec, MoeWeights weights, TaskScratch scratch) {
    boolean corrected = spec.router().correctionBias();
    return MoeRows.vector(corrected ? weights.correctionBias() : null, scratch, CORRECTION);
  }

  /** Returns the numbers from 0 on. */
  static int[] all(int tokens, TaskScratch scratch) {
    int[] all = scratch.ints(ALL, tokens);
    for (int t = 0; t < tokens; t++) {
      all[t] = t;
    }
    return all;
  }

  private static void project(
      MoeDispatchSpec spec,
      Compute compute,
      MoeWeights weights,
      MatrixRows x,
      int tokens,
      float[] logits,
      TaskScratch scratch) {
    MatrixRows[] router = {MoeRows.of(Objects.requireNonNull(weights.routerWeight()))};
    float[] bias = MoeRows.vector(weights.routerBias(), scratch, BIAS);
    int experts = spec.experts();
    int[] all = all(tokens, scratch);
    int height = Math.ceilDiv(experts, Math.clamp(experts / 32, 1, 8));
    int ranges = Math.ceilDiv(experts, height);
    compute.share(
        Math.multiplyExact(Math.ceilDiv(tokens, LANES), ranges),
        (own, mine) -> {
          Projection projection = new Projection(compute.arithmetic(), mine);
          float[] sums = mine.floats(SUMS, height * LANES);
          for (int task = own.next(); task >= 0; task = own.next()) {
            int first = task / ranges * LANES;
            int count = Math.min(LANES, tokens - first);
            int from = task % ranges * height;
            int some = Math.min(height, experts - from);
            projection.multiply(x, all, first, count, router, from, some, sums);
            for (int i = 0; i < count; i++) {
              int row = (first + i) * experts;
              Panels.toRow(sums, i, some, logits, row + from);
              for (int e = from; bias != null && e < from + some; e++) {
                logits[row + e] += bias[e];
              }
            }
          }
        });
  }

  /** The slots (token * topK + slot) that local experts compute, by expert, then ascending. */
  static SlotOrder order(MoeDispatchSpec spec, int[] ids, int tokens, TaskScratch scratch) {
    int local = spec.localExperts();
    int topK = spec.topK();
    int[] starts = scratch.ints(STARTS, local + 1);
    Arrays.fill(starts, 0, local + 1, 0);
    for (int slot = 0; slot < tokens * topK; slot++) {
      if (isLocal(spec, ids[slot])) {
        starts[ids[slot] - spec.firstExpert() + 1]++;
      }
    }
    for (int e = 0; e < local; e++) {
      starts[e + 1] += starts[e];
    }
    int[] next = scratch.ints(NEXT, local + 1);
    System.arraycopy(starts, 0, next, 0, local + 1);
    int[] permutation = scratch.ints(PERMUTATION, starts[local]);
    int[] ofTokens = scratch.ints(TOKENS, starts[local]);
    for (int slot = 0; slot < tokens * topK; slot++) {
      if (isLocal(spec, ids[slot])) {
        int at = next[ids[slot] - spec.firstExpert()]++;
        permutation[at] = slot;
        ofTokens[at] = slot / topK;
      }
    }
    System.arraycopy(starts, 0, next, 0, local + 1);
    return new SlotOrder(permutation, ofTokens, starts, next, starts[local]);
  }

  static boolean isLocal(MoeDispatchSpec spec, int id) {
    return id >= spec.firstExpert() && id < spec.firstExpert() + spec.localExperts();
  }

  /**
   * Slots by expert.
   *
   * @param permutation the slots
   * @param tokens the token of each
   * @param starts where each local expert's slots start, and the end
   * @param next the same, for who takes them to move on
   * @param count how many slots
   */
  @SuppressWarnings("ArrayRecordComponent") // large, and compared by nobody
  record SlotOrder(int[] permutation, int[] tokens, int[] starts, int[] next, int count) {}
}
