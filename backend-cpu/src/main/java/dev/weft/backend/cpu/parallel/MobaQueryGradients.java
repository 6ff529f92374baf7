package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * dq = scale dS k. Tasks, blocks and batches are those of {@link MobaForwardPass}: query rows are
 * lanes, and scores, probabilities, their gradients and dq are panels.
 */
final class MobaQueryGradients {
  private static final int LANES = Arithmetic.LANES;
  private static final int TILE = MobaSpan.TILE;

  // Arrays of the scratch.
  private static final int SUMS = MobaGradientTile.NEXT_FLOATS;
  private static final int DELTA = SUMS + 1;
  private static final int BUFFER = SUMS + 2;

  private final MobaAttentionSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final Elements q;
  private final Elements out;
  private final Elements lse;
  private final Elements dout;
  private final Elements dq;
  private final @Nullable Elements selection;
  private final MobaRows.Cut cut;

  MobaQueryGradients(
      MobaAttentionSpec spec,
      Compute compute,
      List<MobaSequence> sequences,
      MobaBackward a,
      Tensor dq) {
    this.spec = spec;
    this.compute = compute;
    arithmetic = compute.arithmetic();
    q = Elements.of(a.q());
    out = Elements.of(a.out());
    lse = Elements.of(a.lse());
    dout = Elements.of(a.dout());
    this.dq = Elements.of(dq);
    Tensor given = a.selection();
    selection = given == null ? null : Elements.of(given);
    cut = new MobaRows.Cut(spec, sequences, compute.threads());
  }

  void run() {
    int heads = spec.kvHeads();
    int tasks = cut.tasks();
    compute.share(
        Math.multiplyExact(tasks, heads),
        (own, scratch) -> {
          MobaRows rows = cut.newRows(scratch);
          Gradient gradient = new Gradient(rows, scratch);
          for (int i = own.next(); i >= 0; i = own.next()) {
            // The last rows of a sequence see most and take longest: they go first.
            cut.choose(rows, tasks - 1 - i / heads, i % heads);
            rows.takeSelection(selection);
            gradient.begin();
            rows.eachBlock(gradient);
            gradient.store();
          }
        });
  }

  private final class Gradient implements MobaRows.Visitor {
    private final int dim = spec.headDim();
    private final int valueDim = spec.valueDim();
    private final MobaRows rows;
    private final MobaSpan span;
    private final TaskScratch scratch;
    private float[] delta = new float[0];
    private float[] sums = delta;
    private final MobaGradientTile tile;
    private final float[] buffer;

    Gradient(MobaRows rows, TaskScratch scratch) {
      this.rows = rows;
      this.scratch = scratch;
      span = new MobaSpan(spec, arithmetic, scratch, rows.sequence, MobaSpan.MOST_KEYS);
      tile = new MobaGradientTile(spec, arithmetic, scratch, span);
      buffer = scratch.floats(BUFFER, LANES * Math.max(dim, valueDim) + valueDim);
    }

    /** Starts on the rows of a task. */
    void begin() {
      span.of(rows.sequence, rows.kvHead);
      sums = scratch.floats(SUMS, rows.rows * dim);
      delta = scratch.floats(DELTA, rows.rows);
      Arrays.fill(sums, 0, rows.rows * dim, 0);
      for (int r = 0; r < rows.rows; r++) {
        rows.read(arithmetic, dout, r, buffer, 0);
        rows.read(arithmetic, out, r, buffer, valueDim);
        delta[r] = arithmetic.dot(buffer, 0, buffer, valueDim, valueDim);
      }
    }

    @Override
    public void visit(int block, int[] readers, int from, int to, boolean own) {
      int start = block * spec.blockSize();
      int last = own ? rows.position(readers[to - 1]) : start + spec.blockSize() - 1;
      for (int first = start; first <= last; first += MobaSpan.MOST_KEYS) {
        span.load(first, Math.min(MobaSpan.MOST_KEYS, last - first + 1));
        // 0 times what a row does not see would be NaN: such a batch has one row, and its keys
        // only.
        int step = own && !span.isFinite() ? 1 : LANES;
        for (int batch = from; batch < to; batch += step) {
          gradient(readers, batch, Math.min(step, to - batch), own);
        }
      }
    }

    private void gradient(int[] readers, int from, int count, boolean own) {
      Arrays.fill(tile.seen, 0, LANES, span.keys());
      int most = own ? 0 : span.keys();
      for (int lane = 0; lane < count; lane++) {
        int row = readers[from + lane];
        if (own) {
          tile.seen[lane] = span.seenFrom(rows.position(row));
          most = Math.max(most, tile.seen[lane]);
        }
        tile.lse[lane] = lse.getFloat(rows.token(row), rows.head(row));
        tile.delta[lane] = delta[row];
      }
      if (most == 0) {
        return;
      }
      rows.pack(arithmetic, q, readers, from, count, tile.queries, buffer);
      rows.pack(arithmetic, dout, readers, from, count, tile.gradients, buffer);
      tile.clear();
      for (int first = 0; first < most; first += TILE) {
        int keys = Math.min(TILE, most - first);
        tile.meet(first, keys, count);
        tile.addToQueries(first, keys, count);
      }
      for (int lane = 0; lane < count; lane++) {
        Panels.toRow(tile.dq, lane, dim, buffer, 0);
        arithmetic.addScaled(1, buffer, 0, sums, readers[from + lane] * dim, dim);
      }
    }

    void store() {
      for (int i = 0; i < rows.rows * dim; i++) {
        sums[i] *= spec.scale();
      }
      for (int r = 0; r < rows.rows; r++) {
        rows.write(arithmetic, sums, r * dim, dq, r);
      }
    }
  }
}
