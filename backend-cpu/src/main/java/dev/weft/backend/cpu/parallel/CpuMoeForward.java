package dev.weft.backend.cpu.parallel;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec.Source;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One forward pass: route, then, for groups of tokens, the first projections with the activation,
 * the down projections, and the combination.
 *
 * <p>Workspace, per row of a group (a slot that a local expert computes, or a token of the shared
 * expert), F32: its activation [I], then its output [H]. A task is some rows of one expert and a
 * range of weight rows.
 */
final class CpuMoeForward {
  private static final int LANES = Arithmetic.LANES;

  // Weight rows of a task: at least so many, lest packing the tokens takes longer than the rest.
  private static final int LEAST_HEIGHT = 64;
  private static final int MOST_HEIGHT = 1024;

  // Arrays of the scratch beyond those of Projection.
  private static final int SUMS = 8;
  private static final int ROW = 9;
  private static final int BIAS = 10;

  // Of integers, beyond those of the router.
  private static final int DOWN_ROWS = 0;

  // Arrays of the launch's scratch, beyond those of MoeRouting: of numbers, of integers, of longs.
  private static final int GATE = 8;
  private static final int ROW_OF = 8;
  private static final int OWN = 9;
  private static final int COUNTS = 10;
  private static final int ORDER = 0;

  private final MoeDispatchSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final MoeForward arguments;
  private final MoeWeights weights;
  private final CpuMoe.Bound bound;
  private final GatedActivation activation;
  private final int topK;
  private final int tokens;
  private final MatrixRows x;
  private final MoeWorkspace workspace;
  private final @Nullable Elements z;
  private final TaskScratch scratch;
  private final IntRows shares;
  private final IntRows pieces;

  /**
   * Takes a launch.
   *
   * @param scratch the launch's
   */
  CpuMoeForward(
      MoeDispatchSpec spec,
      Compute compute,
      MoeForward arguments,
      MemorySegment workspace,
      TaskScratch scratch) {
    this.spec = spec;
    this.compute = compute;
    this.arguments = arguments;
    this.scratch = scratch;
    arithmetic = compute.arithmetic();
    weights = arguments.weights().weights();
    bound = (CpuMoe.Bound) arguments.weights().backend();
    activation = new GatedActivation(spec);
    topK = spec.topK();
    tokens = MoeRows.tokens(arguments.x(), arguments.tokenCount());
    x = MoeRows.of(arguments.x());
    this.workspace = new MoeWorkspace(spec, workspace);
    MoeSaved saved = arguments.saved();
    Tensor savedZ = saved == null ? null : saved.z();
    z = savedZ == null ? null : Elements.of(savedZ);
    shares = scratch.rows(0);
    pieces = scratch.rows(1);
  }

  void run() {
    MoeRouting routing = MoeRouting.of(spec, compute, arguments, x, tokens, scratch);
    MoeRouting.SlotOrder order = MoeRouting.order(spec, routing.ids(), tokens, scratch);
    int[] rowOf = scratch.ints(ROW_OF, tokens * topK); // of each slot, within its group
    int group = workspace.groupTokens();
    for (int first = 0; first < tokens; first += group) {
      int last = Math.min(tokens, first + group);
      int[] own = scratch.ints(OWN, last - first); // rows of x for the shared expert
      share(order, first, last, rowOf, own);
      int sharedRow = shares.count() == 0 ? 0 : sharedRow();
      project(order, own);
      down();
      combine(routing, rowOf, first, last, sharedRow);
    }
    MoeRows.write(arguments.ids(), routing.ids(), tokens);
    MoeRows.write(compute, arguments.routingWeights(), routing.weights(), tokens);
    MoeRows.write(compute, arguments.logits(), routing.logits(), logitRows());
    counts(routing.ids());
    save(routing, order);
  }

  // What a share is: some rows of one expert. The expert's number, -1 for the shared one; the first
  // of its rows, among the slots by expert or the tokens of the group; how many, at most
  // Projection.MOST_ROWS; and the first of them in the workspace.
  private static final int EXPERT = 0;
  private static final int FIRST = 1;
  private static final int COUNT = 2;
  private static final int IN_WORKSPACE = 3;

  // What a piece is: a range of weight rows for a share.
  private static final int SHARE = 0;
  private static final int FROM = 1;
  private static final int HEIGHT = 2;

  /** What each expert has to do for the tokens of a group; the shared expert comes last. */
  private void share(MoeRouting.SlotOrder order, int first, int last, int[] rowOf, int[] own) {
    shares.clear();
    int[] permutation = order.permutation();
    int[] next = order.next();
    int row = 0;
    for (int e = 0; e < spec.localExperts(); e++) {
      int p = next[e];
      int end = p;
      while (end < order.starts()[e + 1] && permutation[end] < last * topK) {
        rowOf[permutation[end]] = row + end - p;
        end++;
      }
      addShares(e, p, end - p, row);
      next[e] = end;
      row += end - p;
    }
    if (spec.sharedIntermediate() > 0) {
      for (int t = first; t < last; t++) {
        own[t - first] = t;
      }
      addShares(-1, 0, last - first, row);
    }
  }

  private void addShares(int expert, int first, int count, int row) {
    for (int i = 0; i < count; i += Projection.MOST_ROWS) {
      shares.add(expert, first + i, Math.min(Projection.MOST_ROWS, count - i), row + i, 0);
    }
  }

  private int sharedRow() {
    for (int share = 0; share < shares.count(); share++) {
      if (shares.get(share, EXPERT) < 0) {
        return shares.get(share, IN_WORKSPACE);
      }
    }
    return 0;
  }

  private ExpertMatrices matrices(int share) {
    return shares.get(share, EXPERT) < 0 ? Objects.requireNonNull(bound.shared()) : bound.routed();
  }

  private int expert(int share) {
    return Math.max(0, shares.get(share, EXPERT));
  }

  /**
   * Cuts shares into pieces, enough for all threads. No result depends on the cut; so it may depend
   * on the threads.
   *
   * @return the pieces' numbers in the low halves, in the order in which to take them
   */
  private long[] cut(boolean down) {
    long total = 0; // rows of weights
    for (int share = 0; share < shares.count(); share++) {
      total += down ? spec.hidden() : matrices(share).width();
    }
    long wanted = Math.ceilDiv(total, 8L * compute.threads());
    pieces.clear();
    for (int share = 0; share < shares.count(); share++) {
      int rows = down ? spec.hidden() : matrices(share).width();
      boolean few = shares.get(share, COUNT) <= Projection.FEW;
      long most =
          few ? Math.clamp(wanted / 4, 16, 128) : Math.clamp(wanted, LEAST_HEIGHT, MOST_HEIGHT);
      int parts = (int) Math.ceilDiv(rows, most);
      int height = Math.ceilDiv(Math.ceilDiv(rows, parts), 8) * 8;
      for (int from = 0; from < rows; from += height) {
        pieces.add(share, from, Math.min(height, rows - from), 0, 0);
      }
    }
    // The longest first, so that threads end at about the same time.
    long[] order = scratch.longs(ORDER, pieces.count());
    for (int piece = 0; piece < pieces.count(); piece++) {
      int work = shares.get(pieces.get(piece, SHARE), COUNT) * pieces.get(piece, HEIGHT);
      order[piece] = ((long) (Integer.MAX_VALUE - work) << 32) | piece;
    }
    Arrays.sort(order, 0, pieces.count());
    return order;
  }

  private void project(MoeRouting.SlotOrder slots, int[] own) {
    long[] order = cut(false);
    compute.share(
        pieces.count(),
        (tasks, mine) -> {
          Projection projection = new Projection(arithmetic, mine);
          for (int task = tasks.next(); task >= 0; task = tasks.next()) {
            int piece = (int) order[task];
            boolean shared = shares.get(pieces.get(piece, SHARE), EXPERT) < 0;
            project(piece, shared ? own : slots.tokens(), projection, mine);
          }
        });
  }

  private void project(int piece, int[] rows, Projection projection, TaskScratch mine) {
    int share = pieces.get(piece, SHARE);
    int from = pieces.get(piece, FROM);
    int height = pieces.get(piece, HEIGHT);
    int first = shares.get(share, FIRST);
    int count = shares.get(share, COUNT);
    int expert = expert(share);
    boolean routed = shares.get(share, EXPERT) >= 0;
    ExpertMatrices matrices = matrices(share);
    MatrixRows[] both = matrices.projections(expert);
    boolean gated = both.length > 1;
    int panels = Math.ceilDiv(count, LANES);
    int tall = both.length * height;
    float[] sums = mine.floats(SUMS, panels * tall * LANES);
    projection.multiply(x, rows, first, count, both, from, height, sums);
    float[] bias = mine.floats(BIAS, height);
    float[] row = mine.floats(ROW, height);
    for (int p = 0; p < panels; p++) {
      int gates = p * tall * LANES;
      int ups = gates + (both.length - 1) * height * LANES;
      int lanes = Math.min(LANES, count - p * LANES);
      if (gated && matrices.readGateBias(expert, from, height, bias, 0)) {
        addBias(bias, height, sums, gates);
      }
      if (matrices.readUpBias(expert, from, height, bias, 0)) {
        addBias(bias, height, sums, ups);
      }
      for (int lane = 0; z != null && routed && lane < lanes; lane++) {
        int position = first + p * LANES + lane;
        if (gated) {
          Panels.toRow(sums, gates + lane, height, row, 0);
          write(z, position, from, row, height);
        }
        Panels.toRow(sums, ups + lane, height, row, 0);
        write(z, position, (gated ? matrices.width() : 0) + from, row, height);
      }
      activate(sums, gates, ups, height, lanes);
      for (int lane = 0; lane < lanes; lane++) {
        Panels.toRow(sums, ups + lane, height, row, 0);
        int at = shares.get(share, IN_WORKSPACE) + p * LANES + lane;
        long offset = workspace.activations().offset(at, from);
        arithmetic.write(DataType.F32, row, 0, workspace.segment(), offset, height);
      }
    }
  }

  private void activate(float[] sums, int gates, int ups, int height, int lanes) {
    if (lanes > LANES / 2) {
      activation.apply(arithmetic, sums, gates, sums, ups, height * LANES);
      return;
    }
    int whole = Math.min(LANES, Math.ceilDiv(lanes, 16) * 16);
    for (int i = 0; i < height; i++) {
      activation.apply(arithmetic, sums, gates + i * LANES, sums, ups + i * LANES, whole);
    }
  }

  private static void addBias(float[] bias, int height, float[] panel, int at) {
    for (int i = 0; i < height; i++) {
      for (int lane = 0; lane < LANES; lane++) {
        panel[at + i * LANES + lane] += bias[i];
      }
    }
  }

  private void write(Elements matrix, long row, int column, float[] values, int count) {
    arithmetic.write(
        matrix.dataType(), values, 0, matrix.segment(), matrix.byteOffset(row, column), count);
  }

  private void down() {
    long[] order = cut(true);
    compute.share(
        pieces.count(),
        (tasks, mine) -> {
          Projection projection = new Projection(arithmetic, mine);
          int[] rows = mine.ints(DOWN_ROWS, Projection.MOST_ROWS);
          MatrixRows routed = workspace.activations(spec.intermediate());
          MatrixRows shared = workspace.activations(spec.sharedIntermediate());
          for (int task = tasks.next(); task >= 0; task = tasks.next()) {
            int piece = (int) order[task];
            boolean own = shares.get(pieces.get(piece, SHARE), EXPERT) < 0;
            down(piece, own ? shared : routed, rows, projection, mine);
          }
        });
  }

  private void down(
      int piece, MatrixRows activations, int[] rows, Projection projection, TaskScratch mine) {
    int share = pieces.get(piece, SHARE);
    int from = pieces.get(piece, FROM);
    int height = pieces.get(piece, HEIGHT);
    int count = shares.get(share, COUNT);
    int expert = expert(share);
    ExpertMatrices matrices = matrices(share);
    float[] sums = mine.floats(SUMS, Math.ceilDiv(count, LANES) * height * LANES);
    for (int i = 0; i < count; i++) {
      rows[i] = shares.get(share, IN_WORKSPACE) + i;
    }
    projection.multiply(activations, rows, 0, count, matrices.downs(expert), from, height, sums);
    float[] bias = mine.floats(BIAS, height);
    float[] row = mine.floats(ROW, height);
    boolean biased = matrices.readDownBias(expert, from, height, bias, 0);
    for (int i = 0; i < count; i++) {
      Panels.toRow(sums, i / LANES * height * LANES + i % LANES, height, row, 0);
      if (biased) {
        arithmetic.addScaled(1, bias, 0, row, 0, height);
      }
      long offset = workspace.outputs().offset(rows[i], from);
      arithmetic.write(DataType.F32, row, 0, workspace.segment(), offset, height);
    }
  }

  private void combine(MoeRouting routing, int[] rowOf, int first, int last, int sharedRow) {
    Elements y = Elements.of(arguments.y());
    int hidden = spec.hidden();
    boolean shared = spec.sharedIntermediate() > 0;
    float[] gate = MoeRows.sharedGate(spec, weights, scratch, GATE);
    // Ranges of columns, so that even a single token is work for several threads.
    int columns =
        Math.max(256, Math.ceilDiv(hidden, Math.max(1, compute.threads() / (last - first))));
    int ranges = Math.ceilDiv(hidden, columns);
    int perTask = Math.clamp((last - first) / (4L * compute.threads()), 1, 16);
    int groups = Math.ceilDiv(last - first, perTask);
    compute.run(
        Math.multiplyExact(groups, ranges),
        (task, mine) -> {
          int from = task % ranges * columns;
          int width = Math.min(columns, hidden - from);
          float[] sum = mine.floats(SUMS, width);
          float[] row = mine.floats(ROW, hidden);
          int start = first + task / ranges * perTask;
          for (int t = start; t < Math.min(last, start + perTask); t++) {
            Arrays.fill(sum, 0, width, 0);
            for (int slot = t * topK; slot < (t + 1) * topK; slot++) {
              if (MoeRouting.isLocal(spec, routing.ids()[slot])) {
                addOutput(rowOf[slot], from, width, routing.weights()[slot], sum, row);
              }
            }
            if (shared) {
              float scale = 1;
              if (gate != null) {
                arithmetic.read(x.type(), x.segment(), x.offset(t, 0), row, 0, hidden);
                scale = MoeRows.sigmoid(arithmetic.dot(row, 0, gate, 0, hidden));
              }
              addOutput(sharedRow + t - first, from, width, scale, sum, row);
            }
            write(y, t, from, sum, width);
          }
        });
  }

  private void addOutput(int row, int from, int width, float factor, float[] sum, float[] values) {
    arithmetic.read(
        DataType.F32, workspace.segment(), workspace.outputs().offset(row, from), values, 0, width);
    arithmetic.addScaled(factor, values, 0, sum, 0, width);
  }

  private void counts(int[] ids) {
    Tensor tensor = arguments.counts();
    if (tensor == null) {
      return;
    }
    int[] counts = scratch.ints(COUNTS, spec.experts());
    Arrays.fill(counts, 0, spec.experts(), 0);
    for (int slot = 0; slot < tokens * topK; slot++) {
      int id = ids[slot];
      if (id >= 0 && id < spec.experts()) {
        counts[id]++;
      }
    }
    Elements out = Elements.of(tensor);
    for (int e = 0; e < spec.experts(); e++) {
      out.set(e, counts[e]);
    }
  }

  /** There are none where the routing is given. */
  private int logitRows() {
    return spec.router().source() == Source.GIVEN ? 0 : tokens;
  }

  private void save(MoeRouting routing, MoeRouting.SlotOrder order) {
    MoeSaved saved = arguments.saved();
    if (saved == null) {
      return;
    }
    MoeRows.write(saved.ids(), routing.ids(), tokens);
    MoeRows.write(compute, saved.routingWeights(), routing.weights(), tokens);
    MoeRows.write(compute, saved.logits(), routing.logits(), logitRows());
    Elements permutation = Elements.of(saved.permutation());
    int[] slots = order.permutation();
    for (int p = 0; p < permutation.size(0); p++) {
      permutation.set(p, p < order.count() ? slots[p] : -1);
    }
  }
}
