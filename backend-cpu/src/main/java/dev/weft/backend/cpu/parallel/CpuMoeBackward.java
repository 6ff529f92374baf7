package dev.weft.backend.cpu.parallel;

import dev.weft.DataType;
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
import org.jspecify.annotations.Nullable;

/**
 * One backward pass, a group of experts at a time. Of these first the gradients at their
 * projections (a task is up to {@link Arithmetic#LANES} rows and a range of columns of the
 * activation), then at their inputs, then of their weights (a task is a range of rows, each summed
 * over the slots in order), then dx, a token at a time. The shared expert is a group of its own;
 * the router comes last.
 */
final class CpuMoeBackward {
  private static final int LANES = Arithmetic.LANES;
  private static final int BLOCK = MoeBackwardWorkspace.BLOCK;

  // Columns of an activation, or of an input, that a task computes; rows of weights likewise.
  private static final int RANGE = 4 * BLOCK;
  private static final int WEIGHT_ROWS = 128;
  private static final int TOKENS = 16;

  // Arrays of the scratch beyond those of the products.
  private static final int Z = 8;
  private static final int A = 9;
  private static final int DA = 10;
  private static final int ROW = 11;
  private static final int GATE = 12;
  private static final int BIAS = 13;
  private static final int FACTORS = 14;

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
  private static final int ROUTER_LOGITS = 17;
  private static final int DROUTER_LOGITS = 18;
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
  private final GatedActivation activation;
  private final MoeBackwardWorkspace workspace;
  private final TaskScratch scratch;
  private final int topK;
  private final int tokens;
  private final MatrixRows x;
  private final MatrixRows dy;
  private final int[] ids;
  private final float[] routing;
  private final @Nullable Elements z;
  // The gradients of the routing weights; 0 for slots that nobody computes here.
  private final float[] drouting;
  // Of each row of a group what its output is multiplied with, and the gradient of that.
  private final float[] scales;
  private final float[] dscales;
  // From 0 on: the rows of a group, and all tokens.
  private final int[] numbers;
  private final IntRows parts;
  private final IntRows pieces;

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
    activation = new GatedActivation(spec);
    this.workspace = new MoeBackwardWorkspace(spec, workspace, arguments.x().size(0));
    topK = spec.topK();
    tokens = MoeRows.tokens(arguments.x(), arguments.tokenCount());
    x = MoeRows.of(arguments.x());
    dy = MoeRows.of(arguments.dy());
    MoeSaved saved = arguments.saved();
    int slots = Math.multiplyExact(tokens, topK);
    ids = scratch.ints(IDS, slots);
    MoeRows.read(saved.ids(), tokens, ids);
    routing = scratch.floats(ROUTING, slots);
    MoeRows.read(compute, saved.routingWeights(), tokens, routing);
    Tensor savedZ = saved.z();
    z = savedZ == null ? null : Elements.of(savedZ);
    drouting = scratch.floats(DROUTING, slots);
    Arrays.fill(drouting, 0, slots, 0);
    int rows = Math.max(slots, tokens);
    scales = scratch.floats(SCALES, rows);
    dscales = scratch.floats(DSCALES, rows);
    numbers = scratch.ints(NUMBERS, rows);
    for (int i = 0; i < rows; i++) {
      numbers[i] = i;
    }
    parts = scratch.rows(0);
    pieces = scratch.rows(1);
  }

  // What a part is: the rows of one expert in a group. The expert's number, -1 for the shared one;
  // the first of its rows among the slots by expert, or the tokens; how many; and the first of them
  // in the workspace.
  private static final int EXPERT = 0;
  private static final int FIRST = 1;
  private static final int COUNT = 2;
  private static final int IN_WORKSPACE = 3;

  // What a piece is: some rows of a part and a range of columns, or of weight rows.
  private static final int PART = 0;
  private static final int ROWS_FROM = 1;
  private static final int ROWS = 2;
  private static final int FROM = 3;
  private static final int WIDTH = 4;

  /** What one run of tasks needs to know of parts, of one kind only: routed or shared. */
  @SuppressWarnings("ArrayRecordComponent") // lives for one launch and is compared by nobody
  private record Group(
      ExpertMatrices weights,
      ExpertMatrices gradients,
      int[] tokens,
      MatrixRows dgates,
      MatrixRows dups) {}

  private Group group(ExpertMatrices of, ExpertMatrices into, int[] rows) {
    return new Group(
        of,
        into,
        rows,
        MoeBackwardWorkspace.narrow(workspace.gates, of.width()),
        MoeBackwardWorkspace.narrow(workspace.ups, of.width()));
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
      router();
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
          float[] other = mine.floats(Z, spec.hidden());
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

  // Groups of experts.

  private void routed() {
    MoeRouting.SlotOrder order = MoeRouting.order(spec, ids, tokens, scratch);
    Group group = group(bound.routed(), gradients.routed(), order.tokens());
    int hidden = spec.hidden();
    int[] rowOf = scratch.ints(ROW_OF, tokens * topK);
    for (int e = 0; e < spec.localExperts(); ) {
      Arrays.fill(rowOf, 0, tokens * topK, -1);
      parts.clear();
      int used = 0;
      while (e < spec.localExperts()) {
        int first = order.starts()[e];
        int count = order.starts()[e + 1] - first;
        if (parts.count() > 0 && (long) used + count > workspace.rows()) {
          break;
        }
        for (int i = 0; i < count; i++) {
          int slot = order.permutation()[first + i];
          scales[used + i] = routing[slot];
          rowOf[slot] = used + i;
        }
        parts.add(e, first, count, used, 0);
        used += count;
        e++;
      }
      compute(group);
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
    parts.clear();
    parts.add(-1, 0, tokens, 0, 0);
    compute(
        group(
            Objects.requireNonNull(bound.shared()),
            Objects.requireNonNull(gradients.shared()),
            numbers));
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

  // One group.

  private void cut(int columns, int step) {
    pieces.clear();
    for (int part = 0; part < parts.count(); part++) {
      int rows = parts.get(part, COUNT);
      for (int row = 0; row < rows; row += LANES) {
        for (int from = 0; from < columns; from += step) {
          int count = Math.min(LANES, rows - row);
          pieces.add(part, row, count, from, Math.min(step, columns - from));
        }
      }
    }
  }

  private int expert(int part) {
    return Math.max(0, parts.get(part, EXPERT));
  }

  private void compute(Group group) {
    int width = group.weights.width();
    cut(width, RANGE);
    compute.run(pieces.count(), (piece, mine) -> project(group, piece, mine));
    cut(1, 1);
    compute.run(pieces.count(), (piece, mine) -> scale(group, piece, mine));
    cut(spec.hidden(), RANGE);
    compute.run(pieces.count(), (piece, mine) -> input(group, piece, mine));
    pieces.clear();
    for (int part = 0; part < parts.count(); part++) {
      for (int from = 0; from < width; from += WEIGHT_ROWS) {
        pieces.add(part, 0, 0, from, Math.min(WEIGHT_ROWS, width - from));
      }
    }
    int downFrom = pieces.count();
    for (int part = 0; part < parts.count(); part++) {
      for (int from = 0; from < spec.hidden(); from += WEIGHT_ROWS) {
        pieces.add(part, 0, 0, from, Math.min(WEIGHT_ROWS, spec.hidden() - from));
      }
    }
    compute.run(
        pieces.count(),
        (piece, mine) -> {
          if (piece < downFrom) {
            firstWeights(group, piece, mine);
          } else {
            downWeights(group, piece, mine);
          }
        });
  }

  /** The gradients at the projections of some rows. */
  private void project(Group group, int piece, TaskScratch mine) {
    int part = pieces.get(piece, PART);
    int count = pieces.get(piece, ROWS);
    int from = pieces.get(piece, FROM);
    int width = pieces.get(piece, WIDTH);
    int expert = expert(part);
    int first = parts.get(part, FIRST) + pieces.get(piece, ROWS_FROM);
    int row0 = parts.get(part, IN_WORKSPACE) + pieces.get(piece, ROWS_FROM);
    int lanes = arithmetic.wholeVectors(count);
    ExpertMatrices matrices = group.weights;
    MatrixRows[] projections = matrices.projections(expert);
    boolean gated = projections.length > 1;
    int ups = gated ? width * LANES : 0;
    float[] both = mine.floats(Z, 2 * width * LANES);
    float[] a = mine.floats(A, width * LANES);
    float[] gateCopy = mine.floats(GATE, width * LANES);
    float[] da = mine.floats(DA, width * LANES);
    float[] row = mine.floats(ROW, Math.max(width, LANES));
    if (parts.get(part, EXPERT) >= 0 && z != null) {
      for (int i = 0; i < count; i++) {
        long position = (long) first + i;
        if (gated) {
          readSaved(position, from, width, row);
          Panels.toLane(row, 0, width, both, i);
        }
        readSaved(position, (gated ? matrices.width() : 0) + from, width, row);
        Panels.toLane(row, 0, width, both, ups + i);
      }
    } else {
      new Projection(arithmetic, mine)
          .multiply(x, group.tokens, first, count, projections, from, width, both);
      float[] bias = mine.floats(BIAS, width);
      if (gated && matrices.readGateBias(expert, from, width, bias, 0)) {
        addBias(bias, width, both, 0);
      }
      if (matrices.readUpBias(expert, from, width, bias, 0)) {
        addBias(bias, width, both, ups);
      }
    }
    Arrays.fill(da, 0, width * LANES, 0);
    new TransposedProjection(arithmetic, mine)
        .add(dy, group.tokens, first, count, matrices.downs(expert)[0], from, width, da);
    System.arraycopy(both, ups, a, 0, width * LANES);
    System.arraycopy(both, 0, gateCopy, 0, width * LANES);
    float[] factors = mine.floats(FACTORS, LANES);
    System.arraycopy(scales, row0, factors, 0, count);
    Arrays.fill(factors, count, LANES, 0);
    for (int i = 0; i < width; i++) {
      activation.apply(arithmetic, gateCopy, i * LANES, a, i * LANES, lanes);
    }
    float[] sums = row;
    for (int i = 0; i < width; i += BLOCK) {
      Arrays.fill(sums, 0, LANES, 0);
      int some = Math.min(BLOCK, width - i);
      int at = i * LANES;
      arithmetic.addColumnDots(a, at, LANES, da, at, LANES, some, count, sums, 0);
      for (int lane = 0; lane < count; lane++) {
        write(workspace.parts, row0 + lane, (from + i) / BLOCK, sums, lane, 1);
      }
    }
    arithmetic.scaleLanes(da, width, lanes, factors);
    for (int i = 0; i < width; i++) {
      int at = i * LANES;
      activation.gradients(both, at, both, ups + at, da, at, count);
    }
    for (int lane = 0; lane < count; lane++) {
      int at = row0 + lane;
      Panels.toRow(a, lane, width, row, 0);
      write(workspace.activations, at, from, row, 0, width);
      Panels.toRow(both, ups + lane, width, row, 0);
      write(workspace.ups, at, from, row, 0, width);
      if (gated) {
        Panels.toRow(both, lane, width, row, 0);
        write(workspace.gates, at, from, row, 0, width);
      }
    }
  }

  private void readSaved(long position, int column, int width, float[] row) {
    Elements saved = Objects.requireNonNull(z);
    arithmetic.read(
        saved.dataType(), saved.segment(), saved.byteOffset(position, column), row, 0, width);
  }

  private static void addBias(float[] bias, int height, float[] panel, int at) {
    for (int i = 0; i < height; i++) {
      for (int lane = 0; lane < LANES; lane++) {
        panel[at + i * LANES + lane] += bias[i];
      }
    }
  }

  /** Sums the gradients of the scales of some rows: of the activation's part, and of the bias'. */
  private void scale(Group group, int piece, TaskScratch mine) {
    int part = pieces.get(piece, PART);
    int hidden = spec.hidden();
    int blocks = Math.ceilDiv(group.weights.width(), BLOCK);
    float[] row = mine.floats(ROW, Math.max(hidden, blocks));
    float[] bias = mine.floats(BIAS, hidden);
    boolean biased = group.weights.readDownBias(expert(part), 0, hidden, bias, 0);
    int from = pieces.get(piece, ROWS_FROM);
    for (int i = from; i < from + pieces.get(piece, ROWS); i++) {
      int at = parts.get(part, IN_WORKSPACE) + i;
      read(workspace.parts, at, 0, row, 0, blocks);
      float sum = 0;
      for (int b = 0; b < blocks; b++) {
        sum += row[b];
      }
      if (biased) {
        read(dy, group.tokens[parts.get(part, FIRST) + i], 0, row, 0, hidden);
        sum += arithmetic.dot(row, 0, bias, 0, hidden);
      }
      dscales[at] = sum;
    }
  }

  /** The gradients at the inputs of some rows. */
  private void input(Group group, int piece, TaskScratch mine) {
    int part = pieces.get(piece, PART);
    int count = pieces.get(piece, ROWS);
    int from = pieces.get(piece, FROM);
    int width = pieces.get(piece, WIDTH);
    int row0 = parts.get(part, IN_WORKSPACE) + pieces.get(piece, ROWS_FROM);
    MatrixRows[] projections = group.weights.projections(expert(part));
    float[] sums = mine.floats(A, width * LANES);
    float[] row = mine.floats(ROW, width);
    Arrays.fill(sums, 0, width * LANES, 0);
    TransposedProjection projection = new TransposedProjection(arithmetic, mine);
    if (projections.length > 1) {
      projection.add(group.dgates, numbers, row0, count, projections[0], from, width, sums);
    }
    MatrixRows up = projections[projections.length - 1];
    projection.add(group.dups, numbers, row0, count, up, from, width, sums);
    for (int lane = 0; lane < count; lane++) {
      Panels.toRow(sums, lane, width, row, 0);
      write(workspace.inputs, row0 + lane, from, row, 0, width);
    }
  }

  private void firstWeights(Group group, int piece, TaskScratch mine) {
    int part = pieces.get(piece, PART);
    int from = pieces.get(piece, FROM);
    int width = pieces.get(piece, WIDTH);
    int expert = expert(part);
    int count = parts.get(part, COUNT);
    int row0 = parts.get(part, IN_WORKSPACE);
    ExpertMatrices out = group.gradients;
    MatrixRows dgate = out.gate(expert);
    MatrixRows dup = out.up(expert);
    Elements dbias = out.firstBias();
    if (dgate == null && dup == null && dbias == null) {
      return;
    }
    WeightGradient gradient = new WeightGradient(arithmetic, mine, arguments.accumulate());
    int first = parts.get(part, FIRST);
    if (out.gated()) {
      float[] sums =
          gradient.compute(
              workspace.gates,
              numbers,
              row0,
              null,
              0,
              x,
              group.tokens,
              first,
              count,
              from,
              width,
              dgate);
      for (int i = 0; dbias != null && i < width; i++) {
        add(dbias, expert, out.gateColumn(from + i), sums[i]);
      }
    }
    float[] sums =
        gradient.compute(
            workspace.ups, numbers, row0, null, 0, x, group.tokens, first, count, from, width, dup);
    for (int i = 0; dbias != null && i < width; i++) {
      add(dbias, expert, out.upColumn(from + i), sums[i]);
    }
  }

  private void downWeights(Group group, int piece, TaskScratch mine) {
    int part = pieces.get(piece, PART);
    int from = pieces.get(piece, FROM);
    int width = pieces.get(piece, WIDTH);
    int expert = expert(part);
    int row0 = parts.get(part, IN_WORKSPACE);
    MatrixRows ddown = group.gradients.down(expert);
    Elements dbias = group.gradients.downBias();
    if (ddown == null && dbias == null) {
      return;
    }
    float[] sums =
        new WeightGradient(arithmetic, mine, arguments.accumulate())
            .compute(
                dy,
                group.tokens,
                parts.get(part, FIRST),
                scales,
                row0,
                workspace.activations,
                numbers,
                row0,
                parts.get(part, COUNT),
                from,
                width,
                ddown);
    for (int i = 0; dbias != null && i < width; i++) {
      add(dbias, expert, from + i, sums[i]);
    }
  }

  private void add(Elements out, int expert, int column, float value) {
    out.set(expert, column, arguments.accumulate() ? out.get(expert, column) + value : value);
  }

  // The router.

  private void router() {
    int experts = spec.experts();
    int count = Math.multiplyExact(tokens, experts);
    float[] logits = scratch.floats(ROUTER_LOGITS, count);
    MoeRows.read(compute, Objects.requireNonNull(arguments.saved().logits()), tokens, logits);
    float[] dlogits = scratch.floats(DROUTER_LOGITS, count);
    Tensor auxiliary = arguments.auxiliaryDlogits();
    if (auxiliary == null) {
      Arrays.fill(dlogits, 0, count, 0);
    } else {
      MoeRows.read(compute, auxiliary, tokens, dlogits);
    }
    float[] correction = MoeRouting.correction(spec, weights, scratch);
    compute.share(
        Math.ceilDiv(tokens, TOKENS),
        (own, mine) -> {
          RouterChoice choice = new RouterChoice(spec.router(), correction, experts, topK, mine);
          for (int task = own.next(); task >= 0; task = own.next()) {
            for (int t = task * TOKENS; t < Math.min(tokens, (task + 1) * TOKENS); t++) {
              choice.addGradient(logits, t * experts, ids, drouting, t * topK, dlogits);
            }
          }
        });
    MoeRows.write(compute, arguments.dlogits(), dlogits, tokens);
    Tensor routerWeight = weights.routerWeight();
    if (routerWeight == null) {
      return;
    }
    MatrixRows d =
        new MatrixRows(DataType.F32, MemorySegment.ofArray(dlogits), 0, 4L * experts, experts);
    routerWeights(d);
    MatrixRows w = MoeRows.of(routerWeight);
    int ranges = Math.ceilDiv(spec.hidden(), RANGE);
    compute.run(
        Math.multiplyExact(Math.ceilDiv(tokens, LANES), ranges),
        (task, mine) -> {
          int first = task / ranges * LANES;
          int some = Math.min(LANES, tokens - first);
          int from = task % ranges * RANGE;
          int width = Math.min(RANGE, spec.hidden() - from);
          float[] sums = mine.floats(A, width * LANES);
          float[] row = mine.floats(ROW, 2 * width);
          Arrays.fill(sums, 0, width * LANES, 0);
          new TransposedProjection(arithmetic, mine)
              .add(d, numbers, first, some, w, from, width, sums);
          for (int lane = 0; lane < some; lane++) {
            Panels.toRow(sums, lane, width, row, 0);
            read(workspace.dx, first + lane, from, row, width, width);
            arithmetic.addScaled(1, row, width, row, 0, width);
            write(workspace.dx, first + lane, from, row, 0, width);
          }
        });
  }

  private void routerWeights(MatrixRows dlogits) {
    Tensor dweight = arguments.drouterWeight();
    Tensor dbias = arguments.drouterBias();
    MatrixRows out = dweight == null ? null : MoeRows.of(dweight);
    Elements bias = dbias == null ? null : Elements.of(dbias);
    int step = 8;
    compute.run(
        Math.ceilDiv(spec.experts(), step),
        (task, mine) -> {
          int from = task * step;
          int height = Math.min(step, spec.experts() - from);
          float[] sums =
              new WeightGradient(arithmetic, mine, arguments.accumulate())
                  .compute(dlogits, numbers, 0, null, 0, x, numbers, 0, tokens, from, height, out);
          for (int i = 0; bias != null && i < height; i++) {
            double before = arguments.accumulate() ? bias.get(from + i) : 0;
            bias.set(from + i, before + sums[i]);
          }
        });
  }
}
