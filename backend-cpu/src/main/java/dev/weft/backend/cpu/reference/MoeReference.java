package dev.weft.backend.cpu.reference;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.HostStream;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.Source;
import dev.weft.moe.WeightFormat;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MoeKernel;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Mixture-of-experts dispatch as plain loops.
 *
 * <p>Logits and routing weights are rounded to F32, as they are stored; everything else is float64
 * until the one rounding of an output. Where the contract leaves a choice: {@code permutation} has
 * all its T * topK entries written; {@code counts} counts the valid ids of all experts, local or
 * not; given weights are used as they are; rows from the token count on have no slots.
 */
final class MoeReference implements MoeKernel {
  private final MoeDispatchSpec spec;

  MoeReference(MoeDispatchSpec spec) {
    this.spec = spec;
  }

  static Support supports(MoeDispatchSpec spec) {
    return spec.weightFormat().text().equals(WeightFormat.DENSE.text())
        ? Support.yes()
        : Support.no("weightFormat=" + spec.weightFormat().text() + ", only dense");
  }

  @Override
  public long workspaceBytes(MoeDispatchSpec.Mode mode, Limits limits) {
    return 0;
  }

  @Override
  public BackendBinding bind(MoeWeights weights) {
    return new BackendBinding() {};
  }

  @Override
  public void forward(LaunchContext context, MoeForward arguments) {
    HostStream.of(context).submit("moe.forward", () -> forward(arguments));
  }

  @Override
  public void backward(LaunchContext context, MoeBackward arguments) {
    HostStream.of(context)
        .submit("moe.backward", () -> new MoeReferenceBackward(spec, arguments).run());
  }

  /** The number of tokens that are there: all rows, or as many as the device says. */
  static int tokens(Tensor x, @Nullable Tensor tokenCount) {
    int rows = Math.toIntExact(x.size(0));
    return tokenCount == null ? rows : Math.clamp(Elements.of(tokenCount).getInt(0), 0, rows);
  }

  private void forward(MoeForward arguments) {
    MoeWeights weights = arguments.weights().weights();
    int tokens = tokens(arguments.x(), arguments.tokenCount());
    int topK = spec.topK();
    double[][] x = rows(arguments.x(), tokens);
    Routing routing = route(arguments, weights, x);

    // Experts: each slot's output, before its weight.
    int[] permutation = permutation(spec, routing.ids);
    ExpertFunction f = new ExpertFunction(spec);
    double[][] outputs = new double[tokens * topK][];
    MoeSaved saved = arguments.saved();
    Elements savedZ = saved == null ? null : optional(saved.z());
    ExpertTensors experts = ExpertTensors.routed(spec, weights);
    Expert expert = null;
    int loaded = -1;
    for (int p = 0; p < permutation.length && permutation[p] >= 0; p++) {
      int slot = permutation[p];
      int local = routing.ids[slot / topK][slot % topK] - spec.firstExpert();
      if (expert == null || loaded != local) {
        expert = Expert.read(experts, local, spec.hidden());
        loaded = local;
      }
      double[] z = expert.project(x[slot / topK]);
      outputs[slot] = expert.down(expert.activate(f, z));
      if (savedZ != null) {
        for (int row = 0; row < z.length; row++) {
          savedZ.set(p, row, z[row]);
        }
      }
    }

    // Combination, in slot order, and the shared expert.
    Elements y = Elements.of(arguments.y());
    Expert shared =
        spec.sharedIntermediate() > 0
            ? Expert.read(ExpertTensors.shared(spec, weights), 0, spec.hidden())
            : null;
    double[] sharedGate = sharedGate(spec, weights);
    for (int t = 0; t < tokens; t++) {
      double[] sum = new double[spec.hidden()];
      for (int k = 0; k < topK; k++) {
        double[] output = outputs[t * topK + k];
        for (int h = 0; output != null && h < sum.length; h++) {
          sum[h] += routing.weights[t][k] * output[h];
        }
      }
      if (shared != null) {
        double scale = sharedGate.length == 0 ? 1 : ExpertFunction.sigmoid(dot(x[t], sharedGate));
        double[] output = shared.down(shared.activate(f, shared.project(x[t])));
        for (int h = 0; h < sum.length; h++) {
          sum[h] += scale * output[h];
        }
      }
      for (int h = 0; h < sum.length; h++) {
        y.set(t, h, sum[h]);
      }
    }
    write(arguments, routing, permutation);
  }

  /** Per token: its logits (none if the routing was given), its experts and their weights. */
  @SuppressWarnings("ArrayRecordComponent") // large, and compared by nobody
  private record Routing(double[][] logits, int[][] ids, double[][] weights) {}

  private Routing route(MoeForward arguments, MoeWeights weights, double[][] x) {
    int tokens = x.length;
    int topK = spec.topK();
    RouterSpec router = spec.router();
    int[][] ids = new int[tokens][topK];
    double[][] routing = new double[tokens][topK];
    if (router.source() == Source.GIVEN) {
      Elements givenIds = elements(arguments.givenIds());
      Elements givenWeights = elements(arguments.givenWeights());
      for (int t = 0; t < tokens; t++) {
        for (int k = 0; k < topK; k++) {
          ids[t][k] = givenIds.getInt(t, k);
          routing[t][k] = givenWeights.get(t, k);
        }
      }
      return new Routing(new double[0][], ids, routing);
    }
    double[][] logits =
        router.source() == Source.LOGITS
            ? rows(elements(arguments.givenLogits()), tokens)
            : logits(weights, x);
    double[] bias = router.correctionBias() ? vector(elements(weights.correctionBias())) : null;
    for (int t = 0; t < tokens; t++) {
      ids[t] = ExpertChoice.choose(router, topK, logits[t], bias);
      routing[t] =
          ExpertChoice.weights(router, ExpertChoice.scores(router.score(), logits[t]), ids[t]);
      for (int k = 0; k < topK; k++) {
        routing[t][k] = (float) routing[t][k];
      }
    }
    return new Routing(logits, ids, routing);
  }

  private double[][] logits(MoeWeights weights, double[][] x) {
    double[][] rows = rows(elements(weights.routerWeight()), spec.experts());
    double[] bias =
        spec.router().routerBias()
            ? vector(elements(weights.routerBias()))
            : new double[spec.experts()];
    double[][] logits = new double[x.length][spec.experts()];
    for (int t = 0; t < x.length; t++) {
      for (int e = 0; e < rows.length; e++) {
        logits[t][e] = (float) (dot(x[t], rows[e]) + bias[e]);
      }
    }
    return logits;
  }

  private void write(MoeForward arguments, Routing routing, int[] permutation) {
    write(arguments.ids(), routing.ids);
    write(arguments.routingWeights(), routing.weights);
    write(arguments.logits(), routing.logits);
    MoeSaved saved = arguments.saved();
    if (saved != null) {
      write(saved.ids(), routing.ids);
      write(saved.routingWeights(), routing.weights);
      write(saved.logits(), routing.logits);
      Elements out = Elements.of(saved.permutation());
      for (int p = 0; p < out.size(0); p++) {
        out.set(p, p < permutation.length ? permutation[p] : -1);
      }
    }
    Elements counts = optional(arguments.counts());
    if (counts != null) {
      int[] count = counts(spec, routing.ids);
      for (int e = 0; e < count.length; e++) {
        counts.set(e, count[e]);
      }
    }
  }

  /** How often each expert, local or not, is named. */
  static int[] counts(MoeDispatchSpec spec, int[][] ids) {
    int[] counts = new int[spec.experts()];
    for (int[] row : ids) {
      for (int id : row) {
        if (id >= 0 && id < counts.length) {
          counts[id]++;
        }
      }
    }
    return counts;
  }

  /** The slots (token * topK + slot) of local experts, by expert, then ascending; then -1. */
  static int[] permutation(MoeDispatchSpec spec, int[][] ids) {
    int topK = spec.topK();
    int[] permutation = new int[ids.length * topK];
    int next = 0;
    for (int e = spec.firstExpert(); e < spec.firstExpert() + spec.localExperts(); e++) {
      for (int slot = 0; slot < permutation.length; slot++) {
        if (ids[slot / topK][slot % topK] == e) {
          permutation[next++] = slot;
        }
      }
    }
    Arrays.fill(permutation, next, permutation.length, -1);
    return permutation;
  }

  /** The weight of the shared expert's gate; empty where there is none. */
  static double[] sharedGate(MoeDispatchSpec spec, MoeWeights weights) {
    return spec.sharedGate() ? rows(elements(weights.sharedGateWeight()), 1)[0] : new double[0];
  }

  static double dot(double[] a, double[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += a[i] * b[i];
    }
    return sum;
  }

  static double[][] rows(Tensor tensor, int count) {
    return rows(Elements.of(tensor), count);
  }

  /** The first rows of a matrix, widened. */
  static double[][] rows(Elements matrix, int count) {
    float[] row = new float[Math.toIntExact(matrix.size(1))];
    double[][] rows = new double[count][row.length];
    for (int r = 0; r < count; r++) {
      matrix.copyRow(row, 0, r);
      for (int i = 0; i < row.length; i++) {
        rows[r][i] = row[i];
      }
    }
    return rows;
  }

  static double[] vector(Elements elements) {
    double[] vector = new double[Math.toIntExact(elements.size(0))];
    for (int i = 0; i < vector.length; i++) {
      vector[i] = elements.get(i);
    }
    return vector;
  }

  static Elements elements(@Nullable Tensor tensor) {
    return Elements.of(Objects.requireNonNull(tensor));
  }

  static @Nullable Elements optional(@Nullable Tensor tensor) {
    return tensor == null ? null : Elements.of(tensor);
  }

  private static void write(@Nullable Tensor tensor, int[][] rows) {
    Elements out = optional(tensor);
    for (int t = 0; out != null && t < rows.length; t++) {
      for (int i = 0; i < rows[t].length; i++) {
        out.set(t, i, rows[t][i]);
      }
    }
  }

  static void write(@Nullable Tensor tensor, double[][] rows) {
    Elements out = optional(tensor);
    for (int t = 0; out != null && t < rows.length; t++) {
      for (int i = 0; i < rows[t].length; i++) {
        out.set(t, i, rows[t][i]);
      }
    }
  }
}
