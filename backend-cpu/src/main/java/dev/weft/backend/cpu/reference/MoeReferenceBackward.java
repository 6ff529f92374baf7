package dev.weft.backend.cpu.reference;

import static dev.weft.backend.cpu.reference.MoeReference.dot;
import static dev.weft.backend.cpu.reference.MoeReference.elements;
import static dev.weft.backend.cpu.reference.MoeReference.optional;
import static dev.weft.backend.cpu.reference.MoeReference.rows;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import org.jspecify.annotations.Nullable;

/**
 * One backward pass as plain loops, from the ids, weights, logits and (if saved) z that forward
 * wrote. An id that no local expert has contributes nothing, whatever its weight.
 */
final class MoeReferenceBackward {
  private final MoeDispatchSpec spec;
  private final MoeBackward arguments;
  private final MoeWeights weights;
  private final ExpertFunction f;
  private final int tokens;
  private final int topK;
  private final double[][] x;
  private final double[][] dy;
  private final int[][] ids;
  private final double[][] routing;
  private final double[][] dx;
  // The gradients of the routing weights; 0 for slots that nobody computes here.
  private final double[][] drouting;

  MoeReferenceBackward(MoeDispatchSpec spec, MoeBackward arguments) {
    this.spec = spec;
    this.arguments = arguments;
    weights = arguments.weights().weights();
    f = new ExpertFunction(spec);
    tokens = MoeReference.tokens(arguments.x(), arguments.tokenCount());
    topK = spec.topK();
    x = rows(arguments.x(), tokens);
    dy = rows(arguments.dy(), tokens);
    MoeSaved saved = arguments.saved();
    ids = ids(saved.ids(), tokens);
    routing = rows(saved.routingWeights(), tokens);
    dx = new double[tokens][spec.hidden()];
    drouting = new double[tokens][topK];
  }

  static int[][] ids(Tensor tensor, int tokens) {
    Elements elements = Elements.of(tensor);
    int[][] ids = new int[tokens][Math.toIntExact(elements.size(1))];
    for (int t = 0; t < tokens; t++) {
      for (int k = 0; k < ids[t].length; k++) {
        ids[t][k] = elements.getInt(t, k);
      }
    }
    return ids;
  }

  void run() {
    experts();
    shared();
    if (spec.router().hasLogits()) {
      router();
    }
    MoeReference.write(arguments.dx(), dx);
    MoeReference.write(arguments.dgivenWeights(), drouting);
  }

  private void experts() {
    Elements savedZ = optional(arguments.saved().z());
    int[] permutation = MoeReference.permutation(spec, ids);
    ExpertTensors experts = ExpertTensors.routed(spec, weights);
    ExpertTensors gradients = ExpertTensors.routed(spec, arguments);
    int p = 0;
    for (int local = 0; local < spec.localExperts(); local++) {
      Expert expert = Expert.read(experts, local, spec.hidden());
      ExpertGradient gradient = new ExpertGradient(expert);
      for (; p < permutation.length && permutation[p] >= 0; p++) {
        int t = permutation[p] / topK;
        int k = permutation[p] % topK;
        if (ids[t][k] != local + spec.firstExpert()) {
          break;
        }
        double[] z = expert.project(x[t]);
        for (int row = 0; savedZ != null && row < z.length; row++) {
          z[row] = savedZ.get(p, row);
        }
        double[] a = expert.activate(f, z);
        drouting[t][k] = dot(dy[t], expert.down(a));
        double[] dout = scaled(routing[t][k], dy[t]);
        double[] dz = expert.activateTransposed(f, z, expert.downTransposed(dout));
        expert.projectTransposed(dz, dx[t]);
        gradient.add(x[t], dz, a, dout);
      }
      store(gradient, gradients, local);
    }
  }

  private void store(ExpertGradient gradient, ExpertTensors gradients, int expert) {
    ProjectionLayout layout = gradient.layout();
    boolean accumulate = arguments.accumulate();
    int hidden = spec.hidden();
    ExpertTensors.Row firstBias = gradients.firstBias(expert);
    for (int row = 0; row < layout.rows(); row++) {
      ExpertTensors.Row out = gradients.first(expert, row);
      if (out != null) {
        out.put(gradient.first(), row * hidden, hidden, accumulate);
      }
      if (firstBias != null) {
        int k = layout.stored(row);
        double value = gradient.firstBias()[row];
        firstBias.set(k, accumulate ? firstBias.get(k) + value : value);
      }
    }
    for (int h = 0; h < hidden; h++) {
      ExpertTensors.Row out = gradients.down(expert, h);
      if (out != null) {
        out.put(gradient.down(), h * layout.width(), layout.width(), accumulate);
      }
    }
    ExpertTensors.Row downBias = gradients.downBias(expert);
    if (downBias != null) {
      downBias.put(gradient.downBias(), 0, hidden, accumulate);
    }
  }

  private void shared() {
    if (spec.sharedIntermediate() == 0) {
      return;
    }
    Expert expert = Expert.read(ExpertTensors.shared(spec, weights), 0, spec.hidden());
    ExpertGradient gradient = new ExpertGradient(expert);
    double[] gateWeight = MoeReference.sharedGate(spec, weights);
    double[] dgateWeight = new double[spec.hidden()];
    for (int t = 0; t < tokens; t++) {
      double[] z = expert.project(x[t]);
      double[] a = expert.activate(f, z);
      double scale = 1;
      if (gateWeight.length > 0) {
        double logit = dot(x[t], gateWeight);
        scale = ExpertFunction.sigmoid(logit);
        double dlogit = dot(dy[t], expert.down(a)) * scale * ExpertFunction.sigmoid(-logit);
        for (int h = 0; h < spec.hidden(); h++) {
          dgateWeight[h] += dlogit * x[t][h];
          dx[t][h] += dlogit * gateWeight[h];
        }
      }
      double[] dout = scaled(scale, dy[t]);
      double[] dz = expert.activateTransposed(f, z, expert.downTransposed(dout));
      expert.projectTransposed(dz, dx[t]);
      gradient.add(x[t], dz, a, dout);
    }
    store(gradient, ExpertTensors.shared(spec, arguments), 0);
    put(arguments.dsharedGateWeight(), 0, dgateWeight);
  }

  private void router() {
    double[][] logits = rows(elements(arguments.saved().logits()), tokens);
    Tensor auxiliary = arguments.auxiliaryDlogits();
    double[][] dlogits = auxiliary == null ? new double[tokens][] : rows(auxiliary, tokens);
    for (int t = 0; t < tokens; t++) {
      double[] own = ExpertChoice.dlogits(spec.router(), logits[t], ids[t], drouting[t]);
      for (int e = 0; auxiliary != null && e < own.length; e++) {
        own[e] += dlogits[t][e];
      }
      dlogits[t] = own;
    }
    MoeReference.write(arguments.dlogits(), dlogits);
    if (weights.routerWeight() == null) {
      return;
    }
    double[][] routerWeight = rows(weights.routerWeight(), spec.experts());
    Elements dbias = optional(arguments.drouterBias());
    for (int e = 0; e < spec.experts(); e++) {
      double[] sum = new double[spec.hidden()];
      double biasSum = 0;
      for (int t = 0; t < tokens; t++) {
        biasSum += dlogits[t][e];
        for (int h = 0; h < sum.length; h++) {
          sum[h] += dlogits[t][e] * x[t][h];
          dx[t][h] += dlogits[t][e] * routerWeight[e][h];
        }
      }
      put(arguments.drouterWeight(), e, sum);
      if (dbias != null) {
        dbias.set(e, arguments.accumulate() ? dbias.get(e) + biasSum : biasSum);
      }
    }
  }

  private static double[] scaled(double factor, double[] vector) {
    double[] scaled = vector.clone();
    for (int i = 0; i < scaled.length; i++) {
      scaled[i] *= factor;
    }
    return scaled;
  }

  private void put(@Nullable Tensor gradient, int row, double[] values) {
    if (gradient != null) {
      new ExpertTensors.Row(Elements.of(gradient), row, -1)
          .put(values, 0, values.length, arguments.accumulate());
    }
  }

  /** The gradients of one expert's weights, rows as {@link ProjectionLayout} counts them. */
  @SuppressWarnings("ArrayRecordComponent") // large, and compared by nobody
  private record ExpertGradient(
      ProjectionLayout layout,
      double[] first,
      double[] firstBias,
      double[] down,
      double[] downBias) {
    ExpertGradient(Expert expert) {
      this(
          expert.layout(),
          new double[expert.first().length],
          new double[expert.firstBias().length],
          new double[expert.down().length],
          new double[expert.downBias().length]);
    }

    /** Adds what one token gives. */
    void add(double[] x, double[] dz, double[] a, double[] dout) {
      for (int row = 0; row < dz.length; row++) {
        firstBias[row] += dz[row];
        for (int h = 0; h < x.length; h++) {
          first[row * x.length + h] += dz[row] * x[h];
        }
      }
      for (int h = 0; h < dout.length; h++) {
        downBias[h] += dout[h];
        for (int i = 0; i < a.length; i++) {
          down[h * a.length + i] += dout[h] * a[i];
        }
      }
    }
  }
}
