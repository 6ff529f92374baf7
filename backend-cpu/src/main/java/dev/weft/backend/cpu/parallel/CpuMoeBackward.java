package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.backend.cpu.reference.ExpertChoice;
import dev.weft.backend.cpu.reference.ExpertFunction;
import dev.weft.backend.cpu.reference.ExpertTensors;
import dev.weft.backend.cpu.reference.ProjectionLayout;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One backward pass, an expert at a time. Of each expert first the gradients of its slots (a task
 * is up to {@link #CHUNK} slots), then those of its weights (a task is some rows, each summed over
 * the slots in order), then dx, a slot at a time. The router comes last.
 */
final class CpuMoeBackward {
  private static final int CHUNK = 32;

  private final MoeDispatchSpec spec;
  private final WorkPool pool;
  private final MoeBackward arguments;
  private final MoeWeights weights;
  private final ExpertFunction f;
  private final int topK;
  private final float[][] x;
  private final float[][] dy;
  private final int[][] ids;
  private final float[][] routing;
  private final float[][] dx;
  // The gradients of the routing weights; 0 for slots that nobody computes here.
  private final float[][] drouting;

  CpuMoeBackward(MoeDispatchSpec spec, WorkPool pool, MoeBackward arguments) {
    this.spec = spec;
    this.pool = pool;
    this.arguments = arguments;
    weights = arguments.weights().weights();
    f = new ExpertFunction(spec);
    topK = spec.topK();
    int tokens = CpuMoeForward.tokens(arguments.x(), arguments.tokenCount());
    x = FloatRows.read(pool, arguments.x(), tokens);
    dy = FloatRows.read(pool, arguments.dy(), tokens);
    MoeSaved saved = arguments.saved();
    ids = FloatRows.readInts(saved.ids(), tokens);
    routing = FloatRows.read(pool, saved.routingWeights(), tokens);
    dx = new float[tokens][spec.hidden()];
    drouting = new float[tokens][topK];
  }

  void run() {
    Tensor savedZ = arguments.saved().z();
    Elements z = savedZ == null ? null : Elements.of(savedZ);
    CpuRouting.SlotOrder order = CpuRouting.order(spec, ids);
    ExpertTensors experts = ExpertTensors.routed(spec, weights);
    ExpertTensors gradients = ExpertTensors.routed(spec, arguments);
    for (int e = 0; e < spec.localExperts(); e++) {
      int first = order.starts()[e];
      Slots slots = new Slots(order.starts()[e + 1] - first, 0);
      for (int s = 0; s < slots.tokens.length; s++) {
        int slot = order.permutation()[first + s];
        slots.tokens[s] = slot / topK;
        slots.scales[s] = routing[slot / topK][slot % topK];
      }
      gradients(experts, e, slots, z, first);
      for (int s = 0; s < slots.tokens.length; s++) {
        int slot = order.permutation()[first + s];
        drouting[slot / topK][slot % topK] = slots.dscales[s];
      }
      store(gradients, e, slots);
    }
    shared();
    if (spec.router().hasLogits()) {
      router();
    }
    FloatRows.write(pool, arguments.dx(), dx);
    FloatRows.write(pool, arguments.dgivenWeights(), drouting);
  }

  /** One expert's tokens, their scales there and gradients. */
  private static final class Slots {
    private final int[] tokens;
    private final float[] scales;
    private final float[] dscales;
    private final float[][] a;
    private final float[][] dz;
    private final float[][] dx;

    Slots(int count, float scale) {
      tokens = new int[count];
      scales = new float[count];
      dscales = new float[count];
      a = new float[count][];
      dz = new float[count][];
      dx = new float[count][];
      for (int s = 0; s < count; s++) {
        tokens[s] = s;
        scales[s] = scale;
      }
    }
  }

  /** Fills an expert's slots and adds their part of dx. */
  private void gradients(
      ExpertTensors experts, int expert, Slots slots, @Nullable Elements savedZ, int firstZ) {
    int count = slots.tokens.length;
    pool.run(
        (count + CHUNK - 1) / CHUNK,
        task -> {
          int from = task * CHUNK;
          int to = Math.min(count, from + CHUNK);
          float[][] inputs = new float[to - from][];
          float[][] dout = new float[to - from][];
          for (int s = from; s < to; s++) {
            inputs[s - from] = x[slots.tokens[s]];
            dout[s - from] = dy[slots.tokens[s]];
          }
          CpuExpert chunk = new CpuExpert(experts, expert, spec.hidden(), f);
          float[][] z;
          if (savedZ == null) {
            z = chunk.project(inputs);
          } else {
            z = new float[to - from][experts.layout().rows()];
            for (int s = from; s < to; s++) {
              savedZ.copyRow(z[s - from], 0, firstZ + s);
            }
          }
          float[][] a = chunk.activate(z);
          float[][] da = chunk.downTransposed(dout);
          float[] bias = chunk.downBias();
          for (int s = from; s < to; s++) {
            float[] own = da[s - from];
            slots.dscales[s] =
                FloatRows.dot(own, a[s - from]) + FloatRows.dot(dout[s - from], bias);
            for (int i = 0; i < own.length; i++) {
              own[i] *= slots.scales[s];
            }
          }
          float[][] dz = chunk.activateTransposed(z, da);
          float[][] dinputs = chunk.projectTransposed(dz);
          for (int s = from; s < to; s++) {
            slots.a[s] = a[s - from];
            slots.dz[s] = dz[s - from];
            slots.dx[s] = dinputs[s - from];
          }
        });
    for (int s = 0; s < count; s++) { // a token may be there twice
      FloatRows.addScaled(dx[slots.tokens[s]], 1, slots.dx[s]);
    }
  }

  /** Writes the gradients of an expert's weights. */
  private void store(ExpertTensors gradients, int expert, Slots slots) {
    ProjectionLayout layout = gradients.layout();
    int hidden = spec.hidden();
    int firstTasks = FloatRows.tasks(layout.rows());
    pool.run(
        firstTasks + FloatRows.tasks(hidden),
        task -> {
          if (task < firstTasks) {
            int end = Math.min(layout.rows(), (task + 1) * FloatRows.TASK);
            for (int r = task * FloatRows.TASK; r < end; r++) {
              firstRow(gradients, expert, slots, r);
            }
          } else {
            int from = (task - firstTasks) * FloatRows.TASK;
            for (int h = from; h < Math.min(hidden, from + FloatRows.TASK); h++) {
              downRow(gradients, expert, slots, h);
            }
          }
        });
  }

  private void firstRow(ExpertTensors gradients, int expert, Slots slots, int r) {
    ExpertTensors.@Nullable Row out = gradients.first(expert, r);
    if (out != null) {
      float[] sum = new float[spec.hidden()];
      for (int s = 0; s < slots.tokens.length; s++) {
        FloatRows.addScaled(sum, slots.dz[s][r], x[slots.tokens[s]]);
      }
      put(out, sum);
    }
    ExpertTensors.@Nullable Row bias = gradients.firstBias(expert);
    if (bias != null) {
      float sum = 0;
      for (float[] dz : slots.dz) {
        sum += dz[r];
      }
      put(bias, gradients.layout().stored(r), sum);
    }
  }

  private void downRow(ExpertTensors gradients, int expert, Slots slots, int h) {
    ExpertTensors.@Nullable Row out = gradients.down(expert, h);
    if (out != null) {
      float[] sum = new float[gradients.layout().width()];
      for (int s = 0; s < slots.tokens.length; s++) {
        FloatRows.addScaled(sum, slots.scales[s] * dy[slots.tokens[s]][h], slots.a[s]);
      }
      put(out, sum);
    }
    ExpertTensors.@Nullable Row bias = gradients.downBias(expert);
    if (bias != null) {
      float sum = 0;
      for (int s = 0; s < slots.tokens.length; s++) {
        sum += slots.scales[s] * dy[slots.tokens[s]][h];
      }
      put(bias, h, sum);
    }
  }

  private void shared() {
    if (spec.sharedIntermediate() == 0) {
      return;
    }
    float[] gate = CpuMoeForward.sharedGate(spec, weights);
    Slots slots = new Slots(x.length, 1);
    float[] logits = new float[x.length];
    for (int t = 0; t < x.length && gate.length > 0; t++) {
      logits[t] = FloatRows.dot(x[t], gate);
      slots.scales[t] = CpuMoeForward.sigmoid(logits[t]);
    }
    gradients(ExpertTensors.shared(spec, weights), 0, slots, null, 0);
    store(ExpertTensors.shared(spec, arguments), 0, slots);
    if (gate.length == 0) {
      return;
    }
    float[] dgate = new float[spec.hidden()];
    for (int t = 0; t < x.length; t++) {
      float slope = slots.scales[t] * CpuMoeForward.sigmoid(-logits[t]);
      float dlogit = slots.dscales[t] * slope;
      FloatRows.addScaled(dgate, dlogit, x[t]);
      FloatRows.addScaled(dx[t], dlogit, gate);
    }
    Tensor out = arguments.dsharedGateWeight();
    if (out != null) {
      put(new ExpertTensors.Row(Elements.of(out), 0, -1), dgate);
    }
  }

  private void router() {
    int tokens = x.length;
    int experts = spec.experts();
    float[][] logits =
        FloatRows.read(pool, Objects.requireNonNull(arguments.saved().logits()), tokens);
    Tensor auxiliary = arguments.auxiliaryDlogits();
    float[][] dlogits =
        auxiliary == null ? new float[tokens][experts] : FloatRows.read(pool, auxiliary, tokens);
    pool.run(
        FloatRows.tasks(tokens),
        task -> {
          int end = Math.min(tokens, (task + 1) * FloatRows.TASK);
          for (int t = task * FloatRows.TASK; t < end; t++) {
            double[] own =
                ExpertChoice.dlogits(
                    spec.router(),
                    CpuRouting.widen(logits[t]),
                    ids[t],
                    CpuRouting.widen(drouting[t]));
            for (int e = 0; e < experts; e++) {
              dlogits[t][e] = (float) (dlogits[t][e] + own[e]);
            }
          }
        });
    FloatRows.write(pool, arguments.dlogits(), dlogits);
    Tensor routerWeight = weights.routerWeight();
    if (routerWeight == null) {
      return;
    }
    routerWeights(dlogits);
    Elements rows = Elements.of(routerWeight);
    pool.run(
        FloatRows.tasks(tokens),
        task -> {
          int end = Math.min(tokens, (task + 1) * FloatRows.TASK);
          float[] row = new float[spec.hidden()];
          for (int e = 0; e < experts; e++) {
            rows.copyRow(row, 0, e);
            for (int t = task * FloatRows.TASK; t < end; t++) {
              FloatRows.addScaled(dx[t], dlogits[t][e], row);
            }
          }
        });
  }

  private void routerWeights(float[][] dlogits) {
    Tensor dweight = arguments.drouterWeight();
    Tensor dbias = arguments.drouterBias();
    pool.run(
        spec.experts(),
        e -> {
          float[] sum = new float[spec.hidden()];
          float biasSum = 0;
          for (int t = 0; t < x.length; t++) {
            FloatRows.addScaled(sum, dlogits[t][e], x[t]);
            biasSum += dlogits[t][e];
          }
          if (dweight != null) {
            put(new ExpertTensors.Row(Elements.of(dweight), e, -1), sum);
          }
          if (dbias != null) {
            Elements bias = Elements.of(dbias);
            bias.set(e, arguments.accumulate() ? bias.get(e) + biasSum : biasSum);
          }
        });
  }

  private void put(ExpertTensors.Row out, float[] values) {
    if (arguments.accumulate()) {
      float[] old = new float[values.length];
      out.read(old, 0);
      FloatRows.addScaled(values, 1, old);
    }
    out.write(values);
  }

  private void put(ExpertTensors.Row out, int k, float value) {
    out.set(k, arguments.accumulate() ? out.get(k) + value : value);
  }
}
