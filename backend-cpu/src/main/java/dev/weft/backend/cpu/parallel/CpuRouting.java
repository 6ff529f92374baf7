package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.backend.cpu.reference.ExpertChoice;
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
 * weights. Logits are float32 sums; from them on a token's routing is computed in float64 and its
 * weights rounded to float32.
 */
@SuppressWarnings("ArrayRecordComponent") // large, and compared by nobody
record CpuRouting(float[][] logits, int[][] ids, float[][] weights) {

  /** Routes all tokens. */
  static CpuRouting of(MoeDispatchSpec spec, WorkPool pool, MoeForward arguments, float[][] x) {
    int tokens = x.length;
    RouterSpec router = spec.router();
    if (router.source() == Source.GIVEN) {
      return new CpuRouting(
          new float[0][],
          FloatRows.readInts(Objects.requireNonNull(arguments.givenIds()), tokens),
          FloatRows.read(pool, Objects.requireNonNull(arguments.givenWeights()), tokens));
    }
    MoeWeights weights = arguments.weights().weights();
    float[][] logits =
        router.source() == Source.LOGITS
            ? FloatRows.read(pool, Objects.requireNonNull(arguments.givenLogits()), tokens)
            : logits(spec, pool, weights, x);
    double[] bias = widen(vector(weights.correctionBias()));
    int[][] ids = new int[tokens][];
    float[][] routing = new float[tokens][spec.topK()];
    pool.run(
        FloatRows.tasks(tokens),
        task -> {
          int end = Math.min(tokens, (task + 1) * FloatRows.TASK);
          for (int t = task * FloatRows.TASK; t < end; t++) {
            double[] row = widen(logits[t]);
            ids[t] =
                ExpertChoice.choose(
                    router, spec.topK(), row, router.correctionBias() ? bias : null);
            double[] chosen =
                ExpertChoice.weights(router, ExpertChoice.scores(router.score(), row), ids[t]);
            for (int k = 0; k < chosen.length; k++) {
              routing[t][k] = (float) chosen[k];
            }
          }
        });
    return new CpuRouting(logits, ids, routing);
  }

  private static float[][] logits(
      MoeDispatchSpec spec, WorkPool pool, MoeWeights weights, float[][] x) {
    Elements router = Elements.of(Objects.requireNonNull(weights.routerWeight()));
    float[] bias = vector(weights.routerBias());
    float[][] logits = new float[x.length][spec.experts()];
    int tokenTasks = (x.length + 63) / 64;
    int expertTasks = FloatRows.tasks(spec.experts());
    pool.run(
        Math.multiplyExact(tokenTasks, expertTasks),
        task -> {
          int firstToken = task / expertTasks * 64;
          int lastToken = Math.min(x.length, firstToken + 64);
          int firstExpert = task % expertTasks * FloatRows.TASK;
          int lastExpert = Math.min(spec.experts(), firstExpert + FloatRows.TASK);
          float[] row = new float[spec.hidden()];
          for (int e = firstExpert; e < lastExpert; e++) {
            router.copyRow(row, 0, e);
            for (int t = firstToken; t < lastToken; t++) {
              float logit = FloatRows.dot(x[t], row);
              logits[t][e] = bias.length == 0 ? logit : logit + bias[e];
            }
          }
        });
    return logits;
  }

  /** Reads a vector; empty where there is none. */
  static float[] vector(@Nullable Tensor tensor) {
    if (tensor == null) {
      return new float[0];
    }
    float[] vector = new float[Math.toIntExact(tensor.size(0))];
    Elements.of(tensor).copyRow(vector, 0);
    return vector;
  }

  static double[] widen(float[] row) {
    double[] wide = new double[row.length];
    Arrays.setAll(wide, i -> row[i]);
    return wide;
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
    for (int t = 0; t < ids.length; t++) {
      for (int k = 0; k < topK; k++) {
        if (isLocal(spec, ids[t][k])) {
          permutation[next[ids[t][k] - spec.firstExpert()]++] = t * topK + k;
        }
      }
    }
    return new SlotOrder(permutation, starts);
  }

  private static boolean isLocal(MoeDispatchSpec spec, int id) {
    return id >= spec.firstExpert() && id < spec.firstExpert() + spec.localExperts();
  }

  /**
   * Slots by expert.
   *
   * @param permutation the slots
   * @param starts where each local expert's slots start, and the end
   */
  record SlotOrder(int[] permutation, int[] starts) {}
}
