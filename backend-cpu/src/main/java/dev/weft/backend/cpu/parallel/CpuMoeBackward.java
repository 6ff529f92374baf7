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
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
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

  private final MoeDispatchSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final MoeBackward arguments;
  private final MoeWeights weights;
  private final GatedActivation activation;
  private final MoeBackwardWorkspace workspace;
  private final int topK;
  private final int tokens;
  private final MatrixRows x;
  private final MatrixRows dy;
  private final int[][] ids;
  private final float[][] routing;
  private final @Nullable Elements z;
  // The gradients of the routing weights; 0 for slots that nobody computes here.
  private final float[][] drouting;

  CpuMoeBackward(
      MoeDispatchSpec spec, Compute compute, MoeBackward arguments, MemorySegment workspace) {
    this.spec = spec;
    this.compute = compute;
    this.arguments = arguments;
    arithmetic = compute.arithmetic();
    weights = arguments.weights().weights();
    activation = new GatedActivation(spec);
    this.workspace = new MoeBackwardWorkspace(spec, workspace, arguments.x().size(0));
    topK = spec.topK();
    tokens = MoeRows.tokens(arguments.x(), arguments.tokenCount());
    x = MoeRows.of(arguments.x());
    dy = MoeRows.of(arguments.dy());
    MoeSaved saved = arguments.saved();
    ids = MoeRows.readInts(saved.ids(), tokens);
    routing = MoeRows.read(compute, saved.routingWeights(), tokens);
    Tensor savedZ = saved.z();
    z = savedZ == null ? null : Elements.of(savedZ);
    drouting = new float[tokens][topK];
  }

  /**
   * One expert of a group.
   *
   * @param weights its weights
   * @param gradients their gradients
   * @param expert its number among them
   * @param tokens the token of each of its rows, from {@code first} on
   * @param first where they start, in the permutation too
   * @param scales what each row's output is multiplied with
   * @param dscales takes the gradients of these
   * @param rows where its rows lie in the workspace
   * @param saved whether z of its rows may be there
   */
  @SuppressWarnings("ArrayRecordComponent") // lives for one launch and is compared by nobody
  private record Part(
      ExpertMatrices weights,
      ExpertMatrices gradients,
      int expert,
      int[] tokens,
      int first,
      float[] scales,
      float[] dscales,
      int[] rows,
      boolean saved) {
    int count() {
      return scales.length;
    }
  }

  void run() {
    forTokens((t, row) -> {
      Arrays.fill(row, 0);
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
      forTokens((t, row) -> {
        read(workspace.dx, t, 0, row, 0, spec.hidden());
        write(out, t, 0, row, 0, spec.hidden());
      });
    }
    MoeRows.write(compute, arguments.dgivenWeights(), drouting);
  }

  private interface ForToken {
    void accept(int t, float[] row);
  }

  /** Calls for each token, with a row of H to use. */
  private void forTokens(ForToken user) {
    compute.run(
        Math.ceilDiv(tokens, TOKENS),
        (task, _) -> {
          float[] row = new float[spec.hidden()];
          for (int t = task * TOKENS; t < Math.min(tokens, (task + 1) * TOKENS); t++) {
            user.accept(t, row);
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
    MoeRouting.SlotOrder order = MoeRouting.order(spec, ids);
    ExpertMatrices experts = ExpertMatrices.routed(spec, weights);
    ExpertMatrices gradients = ExpertMatrices.routed(spec, arguments);
    int[] rowOf = new int[tokens * topK];
    for (int e = 0; e < spec.localExperts(); ) {
      Arrays.fill(rowOf, -1);
      List<Part> group = new ArrayList<>();
      int used = 0;
      while (e < spec.localExperts()) {
        int first = order.starts()[e];
        int count = order.starts()[e + 1] - first;
        if (!group.isEmpty() && (long) used + count > workspace.rows()) {
          break;
        }
        float[] scales = new float[count];
        int[] rows = new int[count];
        for (int i = 0; i < count; i++) {
          int slot = order.permutation()[first + i];
          scales[i] = routing[slot / topK][slot % topK];
          rows[i] = used + i;
          rowOf[slot] = used + i;
        }
        group.add(
            new Part(
                experts,
                gradients,
                e,
                order.tokens(),
                first,
                scales,
                new float[count],
                rows,
                true));
        used += count;
        e++;
      }
      compute(group);
      for (Part part : group) {
        for (int i = 0; i < part.count(); i++) {
          int slot = order.permutation()[part.first + i];
          drouting[slot / topK][slot % topK] = part.dscales[i];
        }
      }
      forTokens((t, sum) -> {
        float[] own = new float[spec.hidden()];
        read(workspace.dx, t, 0, sum, 0, sum.length);
        for (int k = 0; k < topK; k++) {
          if (rowOf[t * topK + k] >= 0) {
            read(workspace.inputs, rowOf[t * topK + k], 0, own, 0, own.length);
            arithmetic.addScaled(1, own, 0, sum, 0, sum.length);
          }
        }
        write(workspace.dx, t, 0, sum, 0, sum.length);
      });
    }
  }

  private void shared() {
    float[] gate = MoeRows.sharedGate(spec, weights);
    float[] logits = new float[tokens];
    float[] scales = new float[tokens];
    int[] all = new int[tokens];
    Arrays.setAll(all, t -> t);
    forTokens((t, row) -> {
      read(x, t, 0, row, 0, row.length);
      logits[t] = gate.length == 0 ? 0 : arithmetic.dot(row, 0, gate, 0, gate.length);
      scales[t] = gate.length == 0 ? 1 : MoeRows.sigmoid(logits[t]);
    });
    Part part =
        new Part(
            ExpertMatrices.shared(spec, weights),
            ExpertMatrices.shared(spec, arguments),
            0,
            all,
            0,
            scales,
            new float[tokens],
            all,
            false);
    compute(List.of(part));
    float[] dgate = new float[gate.length];
    float[] dlogits = new float[tokens];
    for (int t = 0; t < tokens && gate.length > 0; t++) {
      dlogits[t] = part.dscales[t] * scales[t] * MoeRows.sigmoid(-logits[t]);
      float[] row = new float[gate.length];
      read(x, t, 0, row, 0, row.length);
      arithmetic.addScaled(dlogits[t], row, 0, dgate, 0, row.length);
    }
    forTokens((t, sum) -> {
      float[] own = new float[spec.hidden()];
      read(workspace.dx, t, 0, sum, 0, sum.length);
      read(workspace.inputs, t, 0, own, 0, own.length);
      arithmetic.addScaled(1, own, 0, sum, 0, sum.length);
      arithmetic.addScaled(dlogits[t], gate, 0, sum, 0, gate.length);
      write(workspace.dx, t, 0, sum, 0, sum.length);
    });
    Tensor out = arguments.dsharedGateWeight();
    if (out != null) {
      Elements elements = Elements.of(out);
      for (int h = 0; h < dgate.length; h++) {
        elements.set(0, h, arguments.accumulate() ? elements.get(0, h) + dgate[h] : dgate[h]);
      }
    }
  }

  // One group.

  /** Some rows of an expert and a range of columns, or of weight rows. */
  private record Piece(Part part, int row, int count, int from, int width) {}

  private static void cut(Part part, int columns, int step, List<Piece> pieces) {
    for (int row = 0; row < part.count(); row += LANES) {
      for (int from = 0; from < columns; from += step) {
        int count = Math.min(LANES, part.count() - row);
        pieces.add(new Piece(part, row, count, from, Math.min(step, columns - from)));
      }
    }
  }

  private void compute(List<Part> group) {
    List<Piece> pieces = new ArrayList<>();
    group.forEach(part -> cut(part, part.weights.width(), RANGE, pieces));
    compute.run(pieces.size(), (task, scratch) -> project(pieces.get(task), scratch));
    scales(group);
    List<Piece> inputs = new ArrayList<>();
    group.forEach(part -> cut(part, spec.hidden(), RANGE, inputs));
    compute.run(inputs.size(), (task, scratch) -> input(inputs.get(task), scratch));
    List<Piece> first = new ArrayList<>();
    List<Piece> down = new ArrayList<>();
    for (Part part : group) {
      int width = part.weights.width();
      for (int from = 0; from < width; from += WEIGHT_ROWS) {
        first.add(new Piece(part, 0, part.count(), from, Math.min(WEIGHT_ROWS, width - from)));
      }
      for (int from = 0; from < spec.hidden(); from += WEIGHT_ROWS) {
        int height = Math.min(WEIGHT_ROWS, spec.hidden() - from);
        down.add(new Piece(part, 0, part.count(), from, height));
      }
    }
    compute.run(
        first.size() + down.size(),
        (task, scratch) -> {
          if (task < first.size()) {
            firstWeights(first.get(task), scratch);
          } else {
            downWeights(down.get(task - first.size()), scratch);
          }
        });
  }

  /** The gradients at the projections of some rows. */
  private void project(Piece piece, TaskScratch scratch) {
    Part part = piece.part;
    int width = piece.width;
    int lanes = arithmetic.wholeVectors(piece.count);
    ExpertMatrices matrices = part.weights;
    MatrixRows gate = matrices.gate(part.expert);
    MatrixRows up = Objects.requireNonNull(matrices.up(part.expert));
    int ups = gate == null ? 0 : width * LANES;
    float[] both = scratch.floats(Z, 2 * width * LANES);
    float[] a = scratch.floats(A, width * LANES);
    float[] gateCopy = scratch.floats(GATE, width * LANES);
    float[] da = scratch.floats(DA, width * LANES);
    float[] row = scratch.floats(ROW, Math.max(width, LANES));
    if (part.saved && z != null) {
      for (int i = 0; i < piece.count; i++) {
        long position = (long) part.first + piece.row + i;
        if (gate != null) {
          readSaved(position, piece.from, width, row);
          Panels.toLane(row, 0, width, both, i);
        }
        readSaved(position, (gate == null ? 0 : matrices.width()) + piece.from, width, row);
        Panels.toLane(row, 0, width, both, ups + i);
      }
    } else {
      MatrixRows[] w = gate == null ? new MatrixRows[] {up} : new MatrixRows[] {gate, up};
      new Projection(arithmetic, scratch)
          .multiply(
              x, part.tokens, part.first + piece.row, piece.count, w, piece.from, width, both);
      float[] bias = scratch.floats(BIAS, width);
      if (gate != null && matrices.readGateBias(part.expert, piece.from, width, bias, 0)) {
        addBias(bias, width, both, 0);
      }
      if (matrices.readUpBias(part.expert, piece.from, width, bias, 0)) {
        addBias(bias, width, both, ups);
      }
    }
    Arrays.fill(da, 0, width * LANES, 0);
    new TransposedProjection(arithmetic, scratch)
        .add(
            dy,
            part.tokens,
            part.first + piece.row,
            piece.count,
            Objects.requireNonNull(matrices.down(part.expert)),
            piece.from,
            width,
            da);
    System.arraycopy(both, ups, a, 0, width * LANES);
    System.arraycopy(both, 0, gateCopy, 0, width * LANES);
    float[] factors = new float[LANES];
    System.arraycopy(part.scales, piece.row, factors, 0, piece.count);
    for (int i = 0; i < width; i++) {
      activation.apply(arithmetic, gateCopy, i * LANES, a, i * LANES, lanes);
    }
    float[] sums = row;
    for (int i = 0; i < width; i += BLOCK) {
      Arrays.fill(sums, 0, LANES, 0);
      int some = Math.min(BLOCK, width - i);
      int at = i * LANES;
      arithmetic.addColumnDots(a, at, LANES, da, at, LANES, some, piece.count, sums, 0);
      for (int lane = 0; lane < piece.count; lane++) {
        int at1 = part.rows[piece.row + lane];
        write(workspace.parts, at1, (piece.from + i) / BLOCK, sums, lane, 1);
      }
    }
    arithmetic.scaleLanes(da, width, lanes, factors);
    for (int i = 0; i < width; i++) {
      int at = i * LANES;
      activation.gradients(both, at, both, ups + at, da, at, piece.count);
    }
    for (int lane = 0; lane < piece.count; lane++) {
      int at = part.rows[piece.row + lane];
      Panels.toRow(a, lane, width, row, 0);
      write(workspace.activations, at, piece.from, row, 0, width);
      Panels.toRow(both, ups + lane, width, row, 0);
      write(workspace.ups, at, piece.from, row, 0, width);
      if (gate != null) {
        Panels.toRow(both, lane, width, row, 0);
        write(workspace.gates, at, piece.from, row, 0, width);
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

  /** Sums the gradients of the scales: of the activation's part, and of the bias'. */
  private void scales(List<Part> group) {
    List<Piece> pieces = new ArrayList<>();
    group.forEach(part -> cut(part, 1, 1, pieces));
    compute.run(
        pieces.size(),
        (task, scratch) -> {
          Piece piece = pieces.get(task);
          Part part = piece.part;
          int hidden = spec.hidden();
          int blocks = Math.ceilDiv(part.weights.width(), BLOCK);
          float[] row = scratch.floats(ROW, Math.max(hidden, blocks));
          float[] bias = scratch.floats(BIAS, hidden);
          boolean biased = part.weights.readDownBias(part.expert, 0, hidden, bias, 0);
          for (int i = piece.row; i < piece.row + piece.count; i++) {
            read(workspace.parts, part.rows[i], 0, row, 0, blocks);
            float sum = 0;
            for (int b = 0; b < blocks; b++) {
              sum += row[b];
            }
            if (biased) {
              read(dy, part.tokens[part.first + i], 0, row, 0, hidden);
              sum += arithmetic.dot(row, 0, bias, 0, hidden);
            }
            part.dscales[i] = sum;
          }
        });
  }

  /** The gradients at the inputs of some rows. */
  private void input(Piece piece, TaskScratch scratch) {
    Part part = piece.part;
    int width = part.weights.width();
    float[] sums = scratch.floats(A, piece.width * LANES);
    float[] row = scratch.floats(ROW, piece.width);
    Arrays.fill(sums, 0, piece.width * LANES, 0);
    TransposedProjection projection = new TransposedProjection(arithmetic, scratch);
    MatrixRows gate = part.weights.gate(part.expert);
    if (gate != null) {
      MatrixRows dz = MoeBackwardWorkspace.narrow(workspace.gates, width);
      projection.add(dz, part.rows, piece.row, piece.count, gate, piece.from, piece.width, sums);
    }
    MatrixRows up = Objects.requireNonNull(part.weights.up(part.expert));
    MatrixRows dz = MoeBackwardWorkspace.narrow(workspace.ups, width);
    projection.add(dz, part.rows, piece.row, piece.count, up, piece.from, piece.width, sums);
    for (int lane = 0; lane < piece.count; lane++) {
      Panels.toRow(sums, lane, piece.width, row, 0);
      write(workspace.inputs, part.rows[piece.row + lane], piece.from, row, 0, piece.width);
    }
  }

  private void firstWeights(Piece piece, TaskScratch scratch) {
    Part part = piece.part;
    ExpertMatrices out = part.gradients;
    MatrixRows dgate = out.gate(part.expert);
    MatrixRows dup = out.up(part.expert);
    Elements dbias = out.firstBias();
    if (dgate == null && dup == null && dbias == null) {
      return;
    }
    WeightGradient gradient = new WeightGradient(arithmetic, scratch, arguments.accumulate());
    WeightGradient.Uses inputs = new WeightGradient.Uses(x, part.tokens, part.first);
    if (out.gated()) {
      WeightGradient.Uses u = new WeightGradient.Uses(workspace.gates, part.rows, 0);
      float[] sums =
          gradient.compute(u, null, inputs, part.count(), piece.from, piece.width, dgate);
      for (int i = 0; dbias != null && i < piece.width; i++) {
        add(dbias, part.expert, out.gateColumn(piece.from + i), sums[i]);
      }
    }
    WeightGradient.Uses u = new WeightGradient.Uses(workspace.ups, part.rows, 0);
    float[] sums = gradient.compute(u, null, inputs, part.count(), piece.from, piece.width, dup);
    for (int i = 0; dbias != null && i < piece.width; i++) {
      add(dbias, part.expert, out.upColumn(piece.from + i), sums[i]);
    }
  }

  private void downWeights(Piece piece, TaskScratch scratch) {
    Part part = piece.part;
    MatrixRows ddown = part.gradients.down(part.expert);
    Elements dbias = part.gradients.downBias();
    if (ddown == null && dbias == null) {
      return;
    }
    WeightGradient.Uses u = new WeightGradient.Uses(dy, part.tokens, part.first);
    WeightGradient.Uses v = new WeightGradient.Uses(workspace.activations, part.rows, 0);
    float[] sums =
        new WeightGradient(arithmetic, scratch, arguments.accumulate())
            .compute(u, part.scales, v, part.count(), piece.from, piece.width, ddown);
    for (int i = 0; dbias != null && i < piece.width; i++) {
      add(dbias, part.expert, piece.from + i, sums[i]);
    }
  }

  private void add(Elements out, int expert, int column, float value) {
    out.set(expert, column, arguments.accumulate() ? out.get(expert, column) + value : value);
  }

  // The router.

  private void router() {
    int experts = spec.experts();
    float[][] logits =
        MoeRows.read(compute, Objects.requireNonNull(arguments.saved().logits()), tokens);
    Tensor auxiliary = arguments.auxiliaryDlogits();
    float[][] dlogits =
        auxiliary == null ? new float[tokens][experts] : MoeRows.read(compute, auxiliary, tokens);
    RouterChoice choice = MoeRouting.choice(spec, weights);
    forTokens((t, _) -> choice.addGradient(logits[t], ids[t], drouting[t], dlogits[t]));
    MoeRows.write(compute, arguments.dlogits(), dlogits);
    Tensor routerWeight = weights.routerWeight();
    if (routerWeight == null) {
      return;
    }
    float[] flat = new float[Math.multiplyExact(tokens, experts)];
    for (int t = 0; t < tokens; t++) {
      System.arraycopy(dlogits[t], 0, flat, t * experts, experts);
    }
    MatrixRows d =
        new MatrixRows(DataType.F32, MemorySegment.ofArray(flat), 0, 4L * experts, experts);
    int[] all = new int[tokens];
    Arrays.setAll(all, t -> t);
    routerWeights(d, all);
    MatrixRows w = MoeRows.of(routerWeight);
    int ranges = Math.ceilDiv(spec.hidden(), RANGE);
    compute.run(
        Math.multiplyExact(Math.ceilDiv(tokens, LANES), ranges),
        (task, scratch) -> {
          int first = task / ranges * LANES;
          int count = Math.min(LANES, tokens - first);
          int from = task % ranges * RANGE;
          int width = Math.min(RANGE, spec.hidden() - from);
          float[] sums = scratch.floats(A, width * LANES);
          float[] row = scratch.floats(ROW, 2 * width);
          Arrays.fill(sums, 0, width * LANES, 0);
          new TransposedProjection(arithmetic, scratch)
              .add(d, all, first, count, w, from, width, sums);
          for (int lane = 0; lane < count; lane++) {
            Panels.toRow(sums, lane, width, row, 0);
            read(workspace.dx, first + lane, from, row, width, width);
            arithmetic.addScaled(1, row, width, row, 0, width);
            write(workspace.dx, first + lane, from, row, 0, width);
          }
        });
  }

  private void routerWeights(MatrixRows dlogits, int[] all) {
    Tensor dweight = arguments.drouterWeight();
    Tensor dbias = arguments.drouterBias();
    MatrixRows out = dweight == null ? null : MoeRows.of(dweight);
    Elements bias = dbias == null ? null : Elements.of(dbias);
    int step = 8;
    compute.run(
        Math.ceilDiv(spec.experts(), step),
        (task, scratch) -> {
          int from = task * step;
          int height = Math.min(step, spec.experts() - from);
          float[] sums =
              new WeightGradient(arithmetic, scratch, arguments.accumulate())
                  .compute(
                      new WeightGradient.Uses(dlogits, all, 0),
                      null,
                      new WeightGradient.Uses(x, all, 0),
                      tokens,
                      from,
                      height,
                      out);
          for (int i = 0; bias != null && i < height; i++) {
            double before = arguments.accumulate() ? bias.get(from + i) : 0;
            bias.set(from + i, before + sums[i]);
          }
        });
  }
}
