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
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
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

  private final MoeDispatchSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final MoeForward arguments;
  private final MoeWeights weights;
  private final GatedActivation activation;
  private final int topK;
  private final int tokens;
  private final MatrixRows x;
  private final MoeWorkspace workspace;
  private final @Nullable Elements z;

  CpuMoeForward(
      MoeDispatchSpec spec, Compute compute, MoeForward arguments, MemorySegment workspace) {
    this.spec = spec;
    this.compute = compute;
    this.arguments = arguments;
    arithmetic = compute.arithmetic();
    weights = arguments.weights().weights();
    activation = new GatedActivation(spec);
    topK = spec.topK();
    tokens = MoeRows.tokens(arguments.x(), arguments.tokenCount());
    x = MoeRows.of(arguments.x());
    this.workspace = new MoeWorkspace(spec, workspace);
    MoeSaved saved = arguments.saved();
    Tensor savedZ = saved == null ? null : saved.z();
    z = savedZ == null ? null : Elements.of(savedZ);
  }

  void run() {
    MoeRouting routing = MoeRouting.of(spec, compute, arguments, x, tokens);
    MoeRouting.SlotOrder order = MoeRouting.order(spec, routing.ids());
    int[] rowOf = new int[tokens * topK]; // of each slot, within its group
    int[] next = order.starts().clone();
    int group = workspace.groupTokens();
    for (int first = 0; first < tokens; first += group) {
      int last = Math.min(tokens, first + group);
      List<Share> shares = shares(order, next, first, last, rowOf);
      project(shares);
      down(shares);
      combine(routing, rowOf, first, last, shares);
    }
    MoeRows.write(arguments.ids(), routing.ids());
    MoeRows.write(compute, arguments.routingWeights(), routing.weights());
    MoeRows.write(compute, arguments.logits(), routing.logits());
    counts(routing.ids());
    save(routing, order);
  }

  /**
   * Some rows of one expert.
   *
   * @param matrices its weights
   * @param expert its number among them
   * @param tokens the rows of x, from {@code from} on
   * @param count how many, at most {@link Projection#MOST_ROWS}
   * @param row the first of them in the workspace
   * @param position the first of them in the permutation; -1 for the shared expert
   */
  @SuppressWarnings("ArrayRecordComponent") // lives for one launch and is compared by nobody
  private record Share(
      ExpertMatrices matrices,
      int expert,
      int[] tokens,
      int from,
      int count,
      int row,
      int position) {}

  /** What each expert has to do for the tokens of a group; the shared expert comes last. */
  private List<Share> shares(
      MoeRouting.SlotOrder order, int[] next, int first, int last, int[] rowOf) {
    List<Share> shares = new ArrayList<>();
    ExpertMatrices routed = ExpertMatrices.routed(spec, weights);
    int[] permutation = order.permutation();
    int row = 0;
    for (int e = 0; e < spec.localExperts(); e++) {
      int p = next[e];
      int end = p;
      while (end < order.starts()[e + 1] && permutation[end] < last * topK) {
        rowOf[permutation[end]] = row + end - p;
        end++;
      }
      for (int from = p; from < end; from += Projection.MOST_ROWS) {
        int count = Math.min(Projection.MOST_ROWS, end - from);
        shares.add(new Share(routed, e, order.tokens(), from, count, row + from - p, from));
      }
      next[e] = end;
      row += end - p;
    }
    if (spec.sharedIntermediate() > 0) {
      ExpertMatrices shared = ExpertMatrices.shared(spec, weights);
      int[] own = new int[last - first];
      for (int t = first; t < last; t++) {
        own[t - first] = t;
      }
      for (int from = 0; from < own.length; from += Projection.MOST_ROWS) {
        int count = Math.min(Projection.MOST_ROWS, own.length - from);
        shares.add(new Share(shared, 0, own, from, count, row + from, -1));
      }
    }
    return shares;
  }

  /** A range of weight rows for a share. */
  private record Piece(Share share, int from, int height) {}

  /**
   * Cuts shares into tasks, enough for all threads. No result depends on the cut; so it may depend
   * on the threads.
   */
  private List<Piece> pieces(List<Share> shares, boolean down) {
    long total = 0; // rows of weights
    for (Share share : shares) {
      total += down ? spec.hidden() : share.matrices.width();
    }
    long wanted = Math.ceilDiv(total, 8L * compute.threads());
    List<Piece> pieces = new ArrayList<>();
    for (Share share : shares) {
      int rows = down ? spec.hidden() : share.matrices.width();
      boolean few = share.count <= Projection.FEW;
      long most =
          few ? Math.clamp(wanted / 4, 16, 128) : Math.clamp(wanted, LEAST_HEIGHT, MOST_HEIGHT);
      int parts = (int) Math.ceilDiv(rows, most);
      int height = Math.ceilDiv(Math.ceilDiv(rows, parts), 8) * 8;
      for (int from = 0; from < rows; from += height) {
        pieces.add(new Piece(share, from, Math.min(height, rows - from)));
      }
    }
    // The longest first, so that threads end at about the same time.
    pieces.sort(Comparator.comparingLong(piece -> -(long) piece.share.count * piece.height));
    return pieces;
  }

  private void project(List<Share> shares) {
    List<Piece> pieces = pieces(shares, false);
    compute.run(pieces.size(), (task, scratch) -> project(pieces.get(task), scratch));
  }

  private void project(Piece piece, TaskScratch scratch) {
    Share share = piece.share;
    ExpertMatrices matrices = share.matrices;
    int height = piece.height;
    MatrixRows gate = matrices.gate(share.expert);
    MatrixRows up = Objects.requireNonNull(matrices.up(share.expert));
    MatrixRows[] both = gate == null ? new MatrixRows[] {up} : new MatrixRows[] {gate, up};
    int panels = Math.ceilDiv(share.count, LANES);
    int tall = both.length * height;
    float[] sums = scratch.floats(SUMS, panels * tall * LANES);
    new Projection(arithmetic, scratch)
        .multiply(x, share.tokens, share.from, share.count, both, piece.from, height, sums);
    float[] bias = scratch.floats(BIAS, height);
    float[] row = scratch.floats(ROW, height);
    for (int p = 0; p < panels; p++) {
      int gates = p * tall * LANES;
      int ups = gates + (both.length - 1) * height * LANES;
      int lanes = Math.min(LANES, share.count - p * LANES);
      if (gate != null && matrices.readGateBias(share.expert, piece.from, height, bias, 0)) {
        addBias(bias, height, sums, gates);
      }
      if (matrices.readUpBias(share.expert, piece.from, height, bias, 0)) {
        addBias(bias, height, sums, ups);
      }
      for (int lane = 0; z != null && share.position >= 0 && lane < lanes; lane++) {
        int position = share.position + p * LANES + lane;
        if (gate != null) {
          Panels.toRow(sums, gates + lane, height, row, 0);
          write(z, position, piece.from, row, height);
        }
        Panels.toRow(sums, ups + lane, height, row, 0);
        write(z, position, (gate == null ? 0 : matrices.width()) + piece.from, row, height);
      }
      activate(sums, gates, ups, height, lanes);
      for (int lane = 0; lane < lanes; lane++) {
        Panels.toRow(sums, ups + lane, height, row, 0);
        int at = share.row + p * LANES + lane;
        long offset = workspace.activations().offset(at, piece.from);
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

  private void down(List<Share> shares) {
    List<Piece> pieces = pieces(shares, true);
    compute.run(pieces.size(), (task, scratch) -> down(pieces.get(task), scratch));
  }

  private void down(Piece piece, TaskScratch scratch) {
    Share share = piece.share;
    int height = piece.height;
    MatrixRows[] weight = {Objects.requireNonNull(share.matrices.down(share.expert))};
    int panels = Math.ceilDiv(share.count, LANES);
    float[] sums = scratch.floats(SUMS, panels * height * LANES);
    int[] rows = new int[share.count];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = share.row + i;
    }
    MatrixRows a = workspace.activations(share.matrices.width());
    new Projection(arithmetic, scratch)
        .multiply(a, rows, 0, share.count, weight, piece.from, height, sums);
    float[] bias = scratch.floats(BIAS, height);
    float[] row = scratch.floats(ROW, height);
    boolean biased = share.matrices.readDownBias(share.expert, piece.from, height, bias, 0);
    for (int i = 0; i < share.count; i++) {
      Panels.toRow(sums, i / LANES * height * LANES + i % LANES, height, row, 0);
      if (biased) {
        arithmetic.addScaled(1, bias, 0, row, 0, height);
      }
      long offset = workspace.outputs().offset(share.row + i, piece.from);
      arithmetic.write(DataType.F32, row, 0, workspace.segment(), offset, height);
    }
  }

  private void combine(MoeRouting routing, int[] rowOf, int first, int last, List<Share> shares) {
    Elements y = Elements.of(arguments.y());
    int hidden = spec.hidden();
    int sharedRow = shares.isEmpty() ? 0 : sharedRow(shares);
    boolean shared = spec.sharedIntermediate() > 0;
    float[] gate = MoeRows.sharedGate(spec, weights);
    // Ranges of columns, so that even a single token is work for several threads.
    int columns =
        Math.max(256, Math.ceilDiv(hidden, Math.max(1, compute.threads() / (last - first))));
    int ranges = Math.ceilDiv(hidden, columns);
    int perTask = Math.clamp((last - first) / (4L * compute.threads()), 1, 16);
    int groups = Math.ceilDiv(last - first, perTask);
    compute.run(
        Math.multiplyExact(groups, ranges),
        (task, scratch) -> {
          int from = task % ranges * columns;
          int width = Math.min(columns, hidden - from);
          float[] sum = scratch.floats(SUMS, width);
          float[] row = scratch.floats(ROW, hidden);
          int start = first + task / ranges * perTask;
          for (int t = start; t < Math.min(last, start + perTask); t++) {
            Arrays.fill(sum, 0, width, 0);
            for (int k = 0; k < topK; k++) {
              if (MoeRouting.isLocal(spec, routing.ids()[t][k])) {
                addOutput(rowOf[t * topK + k], from, width, routing.weights()[t][k], sum, row);
              }
            }
            if (shared) {
              float scale = 1;
              if (gate.length > 0) {
                arithmetic.read(x.type(), x.segment(), x.offset(t, 0), row, 0, hidden);
                scale = MoeRows.sigmoid(arithmetic.dot(row, 0, gate, 0, hidden));
              }
              addOutput(sharedRow + t - first, from, width, scale, sum, row);
            }
            write(y, t, from, sum, width);
          }
        });
  }

  private static int sharedRow(List<Share> shares) {
    for (Share share : shares) {
      if (share.position < 0) {
        return share.row;
      }
    }
    return 0;
  }

  private void addOutput(int row, int from, int width, float factor, float[] sum, float[] values) {
    arithmetic.read(
        DataType.F32, workspace.segment(), workspace.outputs().offset(row, from), values, 0, width);
    arithmetic.addScaled(factor, values, 0, sum, 0, width);
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

  private void save(MoeRouting routing, MoeRouting.SlotOrder order) {
    MoeSaved saved = arguments.saved();
    if (saved == null) {
      return;
    }
    MoeRows.write(saved.ids(), routing.ids());
    MoeRows.write(compute, saved.routingWeights(), routing.weights());
    MoeRows.write(compute, saved.logits(), routing.logits());
    Elements permutation = Elements.of(saved.permutation());
    int[] slots = order.permutation();
    for (int p = 0; p < permutation.size(0); p++) {
      permutation.set(p, p < slots.length ? slots[p] : -1);
    }
  }
}
