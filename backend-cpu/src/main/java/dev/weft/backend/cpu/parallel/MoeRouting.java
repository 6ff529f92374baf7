package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.Source;
import java.util.Objects;

/**
 * Where tokens go: per token its logits (none if the routing is given), its experts and their
 * weights. Logits are float32 sums; from them on a token's routing is computed in float64 and its
 * weights rounded to float32.
 */
@SuppressWarnings("ArrayRecordComponent") // large, and compared by nobody
record MoeRouting(float[][] logits, int[][] ids, float[][] weights) {
  private static final int LANES = Arithmetic.LANES;
  private static final int TASK = 16;
  private static final int SUMS = 8;

  /** Routes all tokens. */
  static MoeRouting of(
      MoeDispatchSpec spec, Compute compute, MoeForward arguments, MatrixRows x, int tokens) {
    RouterSpec router = spec.router();
    if (router.source() == Source.GIVEN) {
      return new MoeRouting(
          new float[0][],
          MoeRows.readInts(Objects.requireNonNull(arguments.givenIds()), tokens),
          MoeRows.read(compute, Objects.requireNonNull(arguments.givenWeights()), tokens));
    }
    MoeWeights weights = arguments.weights().weights();
    float[][] logits =
        router.source() == Source.LOGITS
            ? MoeRows.read(compute, Objects.requireNonNull(arguments.givenLogits()), tokens)
            : logits(spec, compute, weights, x, tokens);
    RouterChoice choice = choice(spec, weights);
    int[][] ids = new int[tokens][spec.topK()];
    float[][] routing = new float[tokens][spec.topK()];
    compute.run(
        Math.ceilDiv(tokens, TASK),
        (task, scratch) -> {
          for (int t = task * TASK; t < Math.min(tokens, (task + 1) * TASK); t++) {
            choice.choose(logits[t], ids[t], routing[t]);
          }
        });
    return new MoeRouting(logits, ids, routing);
  }

  static RouterChoice choice(MoeDispatchSpec spec, MoeWeights weights) {
    boolean corrected = spec.router().correctionBias();
    return new RouterChoice(
        spec.router(), corrected ? MoeRows.vector(weights.correctionBias()) : null);
  }

  private static float[][] logits(
      MoeDispatchSpec spec, Compute compute, MoeWeights weights, MatrixRows x, int tokens) {
    MatrixRows[] router = {MoeRows.of(Objects.requireNonNull(weights.routerWeight()))};
    float[] bias = MoeRows.vector(weights.routerBias());
    int experts = spec.experts();
    float[][] logits = new float[tokens][experts];
    int[] all = new int[tokens];
    for (int t = 0; t < tokens; t++) {
      all[t] = t;
    }
    int height = Math.ceilDiv(experts, Math.clamp(experts / 32, 1, 8));
    int ranges = Math.ceilDiv(experts, height);
    compute.run(
        Math.multiplyExact(Math.ceilDiv(tokens, LANES), ranges),
        (task, scratch) -> {
          int first = task / ranges * LANES;
          int count = Math.min(LANES, tokens - first);
          int from = task % ranges * height;
          int some = Math.min(height, experts - from);
          float[] sums = scratch.floats(SUMS, some * LANES);
          new Projection(compute.arithmetic(), scratch)
              .multiply(x, all, first, count, router, from, some, sums);
          for (int i = 0; i < count; i++) {
            float[] row = logits[first + i];
            Panels.toRow(sums, i, some, row, from);
            for (int e = from; e < from + some && bias.length > 0; e++) {
              row[e] += bias[e];
            }
          }
        });
    return logits;
  }

  /** The slots (token * topK + slot) that local experts compute, by expert, then ascending. */
  static SlotOrder order(MoeDispatchSpec spec, int[][] ids) {
    int local = spec.localExperts();
    int topK = spec.topK();
    int[] starts = new int[local + 1];
    for (int[] row : ids) {
      for (int id : row) {
        if (isLocal(spec, id)) {
          starts[id - spec.firstExpert() + 1]++;
        }
      }
    }
    for (int e = 0; e < local; e++) {
      starts[e + 1] += starts[e];
    }
    int[] next = starts.clone();
    int[] permutation = new int[starts[local]];
    int[] tokens = new int[starts[local]];
    for (int t = 0; t < ids.length; t++) {
      for (int k = 0; k < topK; k++) {
        if (isLocal(spec, ids[t][k])) {
          int at = next[ids[t][k] - spec.firstExpert()]++;
          permutation[at] = t * topK + k;
          tokens[at] = t;
        }
      }
    }
    return new SlotOrder(permutation, tokens, starts);
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
   */
  record SlotOrder(int[] permutation, int[] tokens, int[] starts) {}
}
