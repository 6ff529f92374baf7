package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a group of experts gets in a backward pass: first the gradients at their projections (a task
 * is up to {@link Arithmetic#LANES} rows and a range of columns of the activation), then at their
 * inputs, then of their weights (a task is a range of rows, each summed over the slots in order).
 */
final class MoeGroupGradients {
  private static final int LANES = Arithmetic.LANES;
  private static final int BLOCK = MoeBackwardWorkspace.BLOCK;

  // Columns of an activation, or of an input, that a task computes; rows of weights likewise.
  private static final int RANGE = 4 * BLOCK;
  // Where there are many tasks: long pieces of rows are read faster.
  private static final int WIDE_RANGE = 16 * BLOCK;
  private static final int WEIGHT_ROWS = 128;

  // Arrays of the scratch beyond those of the products.
  private static final int Z = 8;
  private static final int A = 9;
  private static final int DA = 10;
  private static final int ROW = 11;
  private static final int GATE = 12;
  private static final int BIAS = 13;
  private static final int FACTORS = 14;

  // What a part is: the rows of one expert in a group, as they were added.
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

  private final MoeDispatchSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final GatedActivation activation;
  private final MoeBackwardWorkspace workspace;
  private final boolean accumulates;
  private final MatrixRows x;
  private final MatrixRows dy;
  private final @Nullable Elements z;
  private final float[] scales;
  private final float[] dscales;
  private final int[] numbers;
  private final IntRows parts;
  private final IntRows pieces;

  /**
   * Takes a launch.
   *
   * @param scratch the launch's, of which the lists are taken
   * @param scales of each row of a group what its output is multiplied with
   * @param dscales where the gradients of those go
   * @param numbers from 0 on
   */
  MoeGroupGradients(
      MoeDispatchSpec spec,
      Compute compute,
      MoeBackward arguments,
      MoeBackwardWorkspace workspace,
      TaskScratch scratch,
      float[] scales,
      float[] dscales,
      int[] numbers) {
    this.spec = spec;
    this.compute = compute;
    this.workspace = workspace;
    this.scales = scales;
    this.dscales = dscales;
    this.numbers = numbers;
    arithmetic = compute.arithmetic();
    activation = new GatedActivation(spec);
    accumulates = arguments.accumulate();
    x = MoeRows.of(arguments.x());
    dy = MoeRows.of(arguments.dy());
    Tensor savedZ = arguments.saved().z();
    z = savedZ == null ? null : Elements.of(savedZ);
    parts = scratch.rows(0);
    pieces = scratch.rows(1);
  }

  /** What one run of tasks needs to know of parts, of one kind only: routed or shared. */
  @SuppressWarnings("ArrayRecordComponent") // lives for one launch and is compared by nobody
  private record Group(
      ExpertMatrices weights,
      ExpertMatrices gradients,
      int[] tokens,
      MatrixRows dgates,
      MatrixRows dups) {}

  /** Starts a group. */
  void clear() {
    parts.clear();
  }

  /** Whether no expert was added yet. */
  boolean isEmpty() {
    return parts.count() == 0;
  }

  /**
   * Adds the rows of an expert.
   *
   * @param expert its number, -1 for the shared one
   * @param first the first of its rows among the slots by expert, or the tokens
   * @param count how many
   * @param row the first of them in the workspace
   */
  void add(int expert, int first, int count, int row) {
    parts.add(expert, first, count, row, 0);
  }

  /**
   * Computes the gradients of all that were added.
   *
   * @param weights of the experts
   * @param gradients of those weights
   * @param tokens of the slots by expert, or all
   */
  void compute(ExpertMatrices weights, ExpertMatrices gradients, int[] tokens) {
    compute(
        new Group(
            weights,
            gradients,
            tokens,
            MoeBackwardWorkspace.narrow(workspace.gates, weights.width()),
            MoeBackwardWorkspace.narrow(workspace.ups, weights.width())));
  }

  /** Cuts rows and columns; no result depends on the cut, so it may depend on the threads. */
  private void cut(int columns) {
    cut(columns, WIDE_RANGE);
    if (pieces.count() < 8 * compute.threads()) {
      cut(columns, RANGE);
    }
  }

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
    cut(width);
    compute.run(pieces.count(), (piece, mine) -> project(group, piece, mine));
    cut(1, 1);
    compute.run(pieces.count(), (piece, mine) -> scale(group, piece, mine));
    cut(spec.hidden());
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
    WeightGradient gradient = new WeightGradient(arithmetic, mine, accumulates);
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
        new WeightGradient(arithmetic, mine, accumulates)
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
    out.set(expert, column, accumulates ? out.get(expert, column) + value : value);
  }

  private void read(MatrixRows m, long row, int column, float[] into, int at, int count) {
    arithmetic.read(m.type(), m.segment(), m.offset(row, column), into, at, count);
  }

  private void write(MatrixRows m, long row, int column, float[] from, int at, int count) {
    arithmetic.write(m.type(), from, at, m.segment(), m.offset(row, column), count);
  }
}
