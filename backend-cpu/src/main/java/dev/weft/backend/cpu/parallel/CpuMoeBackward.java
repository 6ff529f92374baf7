package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;

/**
 * One backward pass, a group of experts at a time: what these get, then dx, a token at a time. The
 * shared expert is a group of its own; the router comes last.
 */
final class CpuMoeBackward {
  private static final int TOKENS = 16;

  // Arrays of the scratch of a task that has a token.
  private static final int ROW = 0;
  private static final int OTHER = 1;

  // Arrays of the launch's scratch, beyond those of MoeRouting.
  private static final int ROUTING = 8;
  private static final int DROUTING = 9;
  private static final int SCALES = 10;
  private static final int DSCALES = 11;
  private static final int GATE_WEIGHT = 12;
  private static final int GATE_LOGITS = 13;
  private static final int DGATE = 14;
  private static final int DGATE_LOGITS = 15;
  private static final int TOKEN_ROW = 16;
  private static final int IDS = 8;
  private static final int ROW_OF = 9;
  private static final int NUMBERS = 10;

  private final MoeDispatchSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final MoeBackward arguments;
  private final CpuMoe.Gradients gradients;
  private final MoeWeights weights;
  private final CpuMoe.Bound bound;
  private final MoeBackwardWorkspace workspace;
  private final TaskScratch scratch;
  private final int topK;
  private final int tokens;
  private final MatrixRows x;
  private final int[] ids;
  private final float[] routing;
  // The gradients of the routing weights; 0 for slots that nobody computes here.
  private final float[] drouting;
  // Of each row of a group what its output is multiplied with, and the gradient of that.
  private final float[] scales;
  private final float[] dscales;
  // From 0 on: the rows of a group, and all tokens.
  private final int[] numbers;
  private final MoeGroupGradients group;

  /**
   * Takes a launch.
   *
   * @param scratch the launch's
   */
  CpuMoeBackward(
      MoeDispatchSpec spec,
      Compute compute,
      CpuMoe.Gradients gradients,
      MemorySegment workspace,
      TaskScratch scratch) {
    this.spec = spec;
    this.compute = compute;
    this.gradients = gradients;
    arguments = gradients.arguments();
    this.scratch = scratch;
    arithmetic = compute.arithmetic();
    weights = arguments.weights().weights();
    bound = (CpuMoe.Bound) arguments.weights().backend();
    this.workspace = new MoeBackwardWorkspace(spec, workspace, arguments.x().size(0));
    topK = spec.topK();
    tokens = MoeRows.tokens(arguments.x(), arguments.tokenCount());
    x = MoeRows.of(arguments.x());
    MoeSaved saved = arguments.saved();
    int slots = Math.multiplyExact(tokens, topK);
    ids = scratch.ints(IDS, slots);
    MoeRows.read(saved.ids(), tokens, ids);
    routing = scratch.floats(ROUTING, slots);
    MoeRows.read(compute, saved.routingWeights(), tokens, routing);
    drouting = scratch.floats(DROUTING, slots);
    Arrays.fill(drouting, 0, slots, 0);
    int rows = Math.max(slots, tokens);
    scales = scratch.floats(SCALES, rows);
    dscales = scratch.floats(DSCALES, rows);
    numbers = scratch.ints(NUMBERS, rows);
    for (int i = 0; i < rows; i++) {
      numbers[i] = i;
    }
    group =
        new MoeGroupGradients(
            spec, compute, arguments, this.workspace, scratch, scales, dscales, numbers);
  }

  void run() {
    forTokens((t, row, _) -> {
      Arrays.fill(row, 0, spec.hidden(), 0);
      write(workspace.dx, t, 0, row, 0, spec.hidden());
    });
    routed();
    if (spec.sharedIntermediate() > 0) {
      shared();
    }
    if (spec.router().hasLogits()) {
      new MoeRouterGradients(spec, compute, arguments, workspace.dx, scratch, tokens)
          .compute(ids, drouting, numbers);
    }
    Tensor dx = arguments.dx();
    if (dx != null) {
      MatrixRows out = MoeRows.of(dx);
      forTokens((t, row, _) -> {
        read(workspace.dx, t, 0, row, 0, spec.hidden());
        write(out, t, 0, row, 0, spec.hidden());
      });
    }
    MoeRows.write(compute, arguments.dgivenWeights(), drouting, tokens);
  }

  private interface ForToken {
    void accept(int t, float[] row, float[] other);
  }

  /** Calls for each token, with two rows of H to use. */
  private void forTokens(ForToken user) {
    compute.run(
        Math.ceilDiv(tokens, TOKENS),
        (task, mine) -> {
          float[] row = mine.floats(ROW, spec.hidden());
          float[] other = mine.floats(OTHER, spec.hidden());
          for (int t = task * TOKENS; t < Math.min(tokens, (task + 1) * TOKENS); t++) {
            user.accept(t, row, other);
          }
        });
  }

  private void read(MatrixRows m, long row, int column, float[] into, int at, int count) {
    arithmetic.read(m.type(), m.segment(), m.offset(row, column), into, at, count);
  }

  private void write(MatrixRows m, long row, int column, float[] from, int at, int count) {
    arithmetic.write(m.type(), from, at, m.segment(), m.offset(row, column), count);
  }

  private void routed() {
    MoeRouting.SlotOrder order = MoeRouting.order(spec, ids, tokens, scratch);
    int hidden = spec.hidden();
    int[] rowOf = scratch.ints(ROW_OF, tokens * topK);
    for (int e = 0; e < spec.localExperts(); ) {
      Arrays.fill(rowOf, 0, tokens * topK, -1);
      group.clear();
      int used = 0;
      while (e < spec.localExperts()) {
        int first = order.starts()[e];
        int count = order.starts()[e + 1] - first;
        if (!group.isEmpty() && (long) used + count > workspace.rows()) {
          break;
        }
        for (int i = 0; i < count; i++) {
          int slot = order.permutation()[first + i];
          scales[used + i] = routing[slot];
          rowOf[slot] = used + i;
        }
        group.add(e, first, count, used);
        used += count;
        e++;
      }
      group.compute(bound.routed(), gradients.routed(), order.tokens());
      for (int slot = 0; slot < tokens * topK; slot++) {
        if (rowOf[slot] >= 0) {
          drouting[slot] = dscales[rowOf[slot]];
        }
      }
      forTokens((t, sum, own) -> {
        read(workspace.dx, t, 0, sum, 0, hidden);
        for (int k = 0; k < topK; k++) {
          if (rowOf[t * topK + k] >= 0) {
            read(workspace.inputs, rowOf[t * topK + k], 0, own, 0, hidden);
            arithmetic.addScaled(1, own, 0, sum, 0, hidden);
          }
        }
        write(workspace.dx, t, 0, sum, 0, hidden);
      });
    }
  }

  private void shared() {
    int hidden = spec.hidden();
    float[] gate = MoeRows.sharedGate(spec, weights, scratch, GATE_WEIGHT);
    float[] logits = scratch.floats(GATE_LOGITS, tokens);
    forTokens((t, row, _) -> {
      read(x, t, 0, row, 0, hidden);
      logits[t] = gate == null ? 0 : arithmetic.dot(row, 0, gate, 0, hidden);
      scales[t] = gate == null ? 1 : MoeRows.sigmoid(logits[t]);
    });
    group.clear();
    group.add(-1, 0, tokens, 0);
    group.compute(
        Objects.requireNonNull(bound.shared()),
        Objects.requireNonNull(gradients.shared()),
        numbers);
    float[] dgate = scratch.floats(DGATE, hidden);
    float[] dlogits = scratch.floats(DGATE_LOGITS, tokens);
    float[] token = scratch.floats(TOKEN_ROW, hidden);
    Arrays.fill(dgate, 0, hidden, 0);
    for (int t = 0; t < tokens && gate != null; t++) {
      dlogits[t] = dscales[t] * scales[t] * MoeRows.sigmoid(-logits[t]);
      read(x, t, 0, token, 0, hidden);
      arithmetic.addScaled(dlogits[t], token, 0, dgate, 0, hidden);
    }
    forTokens((t, sum, own) -> {
      read(workspace.dx, t, 0, sum, 0, hidden);
      read(workspace.inputs, t, 0, own, 0, hidden);
      arithmetic.addScaled(1, own, 0, sum, 0, hidden);
      if (gate != null) {
        arithmetic.addScaled(dlogits[t], gate, 0, sum, 0, hidden);
      }
      write(workspace.dx, t, 0, sum, 0, hidden);
    });
    Tensor out = arguments.dsharedGateWeight();
    if (out != null && gate != null) {
      Elements elements = Elements.of(out);
      for (int h = 0; h < hidden; h++) {
        elements.set(0, h, arguments.accumulate() ? elements.get(0, h) + dgate[h] : dgate[h]);
      }
    }
  }
}
