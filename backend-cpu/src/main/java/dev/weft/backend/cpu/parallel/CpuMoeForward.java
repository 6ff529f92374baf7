package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.backend.cpu.reference.ExpertFunction;
import dev.weft.backend.cpu.reference.ExpertTensors;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One forward pass: route, then, for groups of tokens, experts (a task is up to {@link #CHUNK}
 * slots of one expert, which stream its weights once) and combination (a task is some tokens).
 */
final class CpuMoeForward {
  /** Slots of one expert that a task computes. */
  private static final int CHUNK = 32;

  /** Floats of slot outputs that a group of tokens may hold: 64 MiB. */
  static final int GROUP = 1 << 24;

  private final MoeDispatchSpec spec;
  private final WorkPool pool;
  private final MoeForward arguments;
  private final MoeWeights weights;
  private final ExpertFunction f;
  private final int topK;
  private final int group; // tokens
  private final float[][] x;

  /**
   * Reads the activations.
   *
   * @param groupFloats floats of slot outputs that a group of tokens may hold
   */
  CpuMoeForward(MoeDispatchSpec spec, WorkPool pool, MoeForward arguments, int groupFloats) {
    this.spec = spec;
    this.pool = pool;
    this.arguments = arguments;
    weights = arguments.weights().weights();
    f = new ExpertFunction(spec);
    topK = spec.topK();
    group = (int) Math.max(1, groupFloats / ((long) topK * spec.hidden()));
    x = FloatRows.read(pool, arguments.x(), tokens(arguments.x(), arguments.tokenCount()));
  }

  /** The number of tokens that are there: all rows, or as many as the device says. */
  static int tokens(Tensor x, @Nullable Tensor tokenCount) {
    int rows = Math.toIntExact(x.size(0));
    return tokenCount == null ? rows : Math.clamp(Elements.of(tokenCount).getInt(0), 0, rows);
  }

  void run() {
    CpuRouting routing = CpuRouting.of(spec, pool, arguments, x);
    CpuRouting.SlotOrder order = CpuRouting.order(spec, routing.ids());
    MoeSaved saved = arguments.saved();
    Tensor savedZ = saved == null ? null : saved.z();
    Elements z = savedZ == null ? null : Elements.of(savedZ);
    int[] next = order.starts().clone();
    for (int first = 0; first < x.length; first += group) {
      int last = Math.min(x.length, first + group);
      float[][] outputs = new float[(last - first) * topK][];
      slots(order, next, first, last, z, outputs);
      combine(routing, first, last, outputs);
    }
    FloatRows.write(arguments.ids(), routing.ids());
    FloatRows.write(pool, arguments.routingWeights(), routing.weights());
    FloatRows.write(pool, arguments.logits(), routing.logits());
    counts(routing.ids());
    if (saved != null) {
      FloatRows.write(saved.ids(), routing.ids());
      FloatRows.write(pool, saved.routingWeights(), routing.weights());
      FloatRows.write(pool, saved.logits(), routing.logits());
      Elements permutation = Elements.of(saved.permutation());
      int[] slots = order.permutation();
      for (int p = 0; p < permutation.size(0); p++) {
        permutation.set(p, p < slots.length ? slots[p] : -1);
      }
    }
  }

  /** Rows p..end of the permutation, all of one expert. */
  private record Chunk(int expert, int p, int end) {}

  private void slots(
      CpuRouting.SlotOrder order,
      int[] next,
      int first,
      int last,
      @Nullable Elements z,
      float[][] outputs) {
    int[] permutation = order.permutation();
    List<Chunk> chunks = new ArrayList<>();
    for (int e = 0; e < spec.localExperts(); e++) {
      while (next[e] < order.starts()[e + 1] && permutation[next[e]] < last * topK) {
        int p = next[e];
        while (next[e] < order.starts()[e + 1]
            && next[e] < p + CHUNK
            && permutation[next[e]] < last * topK) {
          next[e]++;
        }
        chunks.add(new Chunk(e, p, next[e]));
      }
    }
    ExpertTensors experts = ExpertTensors.routed(spec, weights);
    pool.run(
        chunks.size(),
        task -> {
          Chunk chunk = chunks.get(task);
          float[][] inputs = new float[chunk.end - chunk.p][];
          for (int s = 0; s < inputs.length; s++) {
            inputs[s] = x[permutation[chunk.p + s] / topK];
          }
          CpuExpert expert = new CpuExpert(experts, chunk.expert, spec.hidden(), f);
          float[][] projected = expert.project(inputs);
          for (int s = 0; z != null && s < inputs.length; s++) {
            z.setRow(projected[s], 0, chunk.p + s);
          }
          float[][] results = expert.down(expert.activate(projected));
          for (int s = 0; s < inputs.length; s++) {
            outputs[permutation[chunk.p + s] - first * topK] = results[s];
          }
        });
  }

  private void combine(CpuRouting routing, int first, int last, float[][] outputs) {
    Elements y = Elements.of(arguments.y());
    boolean shared = spec.sharedIntermediate() > 0;
    ExpertTensors sharedTensors = shared ? ExpertTensors.shared(spec, weights) : null;
    float[] gate = sharedGate(spec, weights);
    pool.run(
        FloatRows.tasks(last - first),
        task -> {
          int from = first + task * FloatRows.TASK;
          int to = Math.min(last, from + FloatRows.TASK);
          float[][] extra = new float[0][];
          if (sharedTensors != null) {
            CpuExpert expert = new CpuExpert(sharedTensors, 0, spec.hidden(), f);
            float[][] inputs = Arrays.copyOfRange(x, from, to);
            extra = expert.down(expert.activate(expert.project(inputs)));
          }
          for (int t = from; t < to; t++) {
            float[] sum = new float[spec.hidden()];
            for (int k = 0; k < topK; k++) {
              float[] output = outputs[(t - first) * topK + k];
              if (output != null) {
                FloatRows.addScaled(sum, routing.weights()[t][k], output);
              }
            }
            if (shared) {
              float scale = gate.length == 0 ? 1 : sigmoid(FloatRows.dot(x[t], gate));
              FloatRows.addScaled(sum, scale, extra[t - from]);
            }
            y.setRow(sum, 0, t);
          }
        });
  }

  private void counts(int[][] ids) {
    Tensor tensor = arguments.counts();
    if (tensor == null) {
      return;
    }
    int[] counts = new int[spec.experts()];
    for (int[] row : ids) {
      for (int id : row) {
        if (id >= 0 && id < counts.length) {
          counts[id]++;
        }
      }
    }
    Elements out = Elements.of(tensor);
    for (int e = 0; e < counts.length; e++) {
      out.set(e, counts[e]);
    }
  }

  /** The weight of the shared expert's gate; empty where there is none. */
  static float[] sharedGate(MoeDispatchSpec spec, MoeWeights weights) {
    Tensor tensor = weights.sharedGateWeight();
    if (tensor == null) {
      return new float[0];
    }
    float[] gate = new float[spec.hidden()];
    Elements.of(tensor).copyRow(gate, 0, 0);
    return gate;
  }

  static float sigmoid(float x) {
    return (float) ExpertFunction.sigmoid(x);
  }
}
