package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Attention of all queries, packed or paged.
 *
 * <p>A task has up to a thousand query rows of one kv head. It selects their blocks, turns the
 * selection over, and takes the blocks in ascending order, each loaded once for all rows that read
 * it. These rows pass in batches of {@link Arithmetic#LANES}: they are the lanes of a panel, so
 * that scores, probabilities and weighted values are panels too, and the softmax runs along the
 * keys without a sum across a vector. A batch attends to a block as flash attention does, tile by
 * tile, and then joins its rows' running softmax.
 *
 * <p>What a row gets depends on itself and the keys alone, not on the rows beside it: decoding a
 * token gives the bits of its prefill. Used by one launch.
 */
final class MobaForwardPass {
  private static final int LANES = Arithmetic.LANES;
  private static final int TILE = MobaSpan.TILE;

  // Arrays of the scratch beyond those of MobaSpan.
  private static final int QUERIES = 2;
  private static final int SCORES = 3;
  private static final int PART = 4;
  private static final int WEIGHTED = 5;
  private static final int MAX = 6;
  private static final int SUM = 7;
  private static final int BUFFER = 8;
  private static final int BATCH_MAX = 9;
  private static final int BATCH_SUM = 10;
  private static final int CORRECTION = 11;
  private static final int FACTORS = 12;

  // Of integers, beyond those of MobaRows and MobaSpan.
  private static final int SEEN = 10;
  private static final int VISIBLE = 11;

  private final MobaAttentionSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final Elements q;
  private final Elements out;
  private final @Nullable Elements lse;
  private final @Nullable Elements selection;
  private final MobaRows.Cut cut;

  MobaForwardPass(
      MobaAttentionSpec spec,
      Compute compute,
      List<MobaSequence> sequences,
      Tensor q,
      Tensor out,
      @Nullable Tensor lse,
      @Nullable Tensor selection) {
    this.spec = spec;
    this.compute = compute;
    arithmetic = compute.arithmetic();
    this.q = Elements.of(q);
    this.out = Elements.of(out);
    this.lse = lse == null ? null : Elements.of(lse);
    this.selection = selection == null ? null : Elements.of(selection);
    cut = new MobaRows.Cut(spec, sequences, compute.threads());
  }

  /** Finds the means of one sequence and kv head. */
  interface MeansOf {
    MobaSelector.Means of(int sequence, int kvHead);
  }

  /** Attends with the kv heads from one up to another. */
  void run(MeansOf means, int fromHead, int toHead) {
    int heads = toHead - fromHead;
    int tasks = cut.tasks();
    compute.share(
        Math.multiplyExact(tasks, heads),
        (own, scratch) -> {
          MobaRows rows = cut.newRows(scratch);
          Softmax softmax = new Softmax(rows, scratch);
          for (int i = own.next(); i >= 0; i = own.next()) {
            // The last rows of a sequence see most and take longest: they go first.
            int task = tasks - 1 - i / heads;
            int kvHead = fromHead + i % heads;
            cut.choose(rows, task, kvHead);
            MobaSelector.select(
                spec, arithmetic, scratch, rows, q, means.of(cut.sequenceOf(task), kvHead));
            softmax.begin();
            rows.eachBlock(softmax);
            softmax.store();
          }
        });
  }

  /** The running softmax of each row: its maximum, its sum, its weighted values. */
  private final class Softmax implements MobaRows.Visitor {
    private final int dim = spec.headDim();
    private final int valueDim = spec.valueDim();
    private final MobaRows rows;
    private final MobaSpan span;
    private final TaskScratch scratch;
    private float[] max = new float[0];
    private float[] sum = max;
    private float[] weighted = max;
    // Of one batch.
    private final float[] queries;
    private final float[] scores;
    private final float[] part;
    private final float[] buffer;
    private final float[] batchMax;
    private final float[] batchSum;
    private final float[] correction;
    private final float[] factors;
    private final int[] seen;
    private final int[] visible;

    Softmax(MobaRows rows, TaskScratch scratch) {
      this.rows = rows;
      this.scratch = scratch;
      span = new MobaSpan(spec, arithmetic, scratch, rows.sequence, MobaSpan.MOST_KEYS);
      queries = scratch.floats(QUERIES, dim * LANES);
      scores = scratch.floats(SCORES, (TILE + 1) * LANES);
      part = scratch.floats(PART, valueDim * LANES);
      buffer = scratch.floats(BUFFER, LANES * Math.max(dim, valueDim));
      batchMax = scratch.floats(BATCH_MAX, LANES);
      batchSum = scratch.floats(BATCH_SUM, LANES);
      correction = scratch.floats(CORRECTION, LANES);
      factors = scratch.floats(FACTORS, 2 * LANES);
      seen = scratch.ints(SEEN, LANES);
      visible = scratch.ints(VISIBLE, LANES);
    }

    /** Starts on the rows of a task. */
    void begin() {
      span.of(rows.sequence, rows.kvHead);
      max = scratch.floats(MAX, rows.rows);
      sum = scratch.floats(SUM, rows.rows);
      weighted = scratch.floats(WEIGHTED, rows.rows * valueDim);
      Arrays.fill(max, 0, rows.rows, Float.NEGATIVE_INFINITY);
      Arrays.fill(sum, 0, rows.rows, 0);
      Arrays.fill(weighted, 0, rows.rows * valueDim, 0);
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
          attend(readers, batch, Math.min(step, to - batch), own);
        }
      }
    }

    private void attend(int[] readers, int from, int count, boolean own) {
      int lanes = arithmetic.wholeVectors(count);
      Arrays.fill(seen, 0, LANES, span.keys());
      int most = own ? 0 : span.keys();
      for (int lane = 0; own && lane < count; lane++) {
        seen[lane] = span.seenFrom(rows.position(readers[from + lane]));
        most = Math.max(most, seen[lane]);
      }
      if (most == 0) {
        return;
      }
      rows.pack(arithmetic, q, readers, from, count, queries, buffer);
      Arrays.fill(batchMax, 0, LANES, Float.NEGATIVE_INFINITY);
      Arrays.fill(batchSum, 0, LANES, 0);
      Arrays.fill(part, 0, valueDim * LANES, 0);
      for (int first = 0; first < most; first += TILE) {
        tile(first, Math.min(TILE, most - first), lanes, count);
      }
      join(readers, from, count);
    }

    private void tile(int first, int keys, int lanes, int count) {
      boolean all = true;
      for (int lane = 0; lane < LANES; lane++) {
        visible[lane] = seen[lane] - first;
        all &= lane >= count || visible[lane] >= keys;
      }
      Arrays.fill(scores, 0, keys * LANES, 0);
      arithmetic.multiplyRows(
          keys, dim, lanes, span.k, first * span.keyPitch, span.keyPitch, queries, 0, scores, 0);
      arithmetic.softmaxStep(
          scores, keys, lanes, spec.scale(), all ? null : visible, batchMax, batchSum, correction);
      if (first > 0) {
        arithmetic.scaleLanes(part, valueDim, lanes, correction);
      }
      float[] v = span.v;
      arithmetic.multiplyColumns(
          valueDim, keys, lanes, v, first * span.valuePitch, span.valuePitch, scores, 0, part, 0);
    }

    /** Adds a batch to its rows' running softmax. */
    private void join(int[] readers, int from, int count) {
      for (int lane = 0; lane < count; lane++) {
        float old = max[readers[from + lane]];
        float highest = Math.max(old, batchMax[lane]);
        float reference = highest == Float.NEGATIVE_INFINITY ? 0 : highest;
        factors[lane] = old - reference;
        factors[count + lane] = batchMax[lane] - reference;
        max[readers[from + lane]] = highest;
      }
      arithmetic.expOfFew(factors, 0, 2 * count);
      for (int lane = 0; lane < count; lane++) {
        Panels.toRow(part, lane, valueDim, buffer, lane * valueDim);
      }
      for (int lane = 0; lane < count; lane++) {
        int row = readers[from + lane];
        float before = factors[lane];
        // Scores that are all NaN leave no maximum, but a sum.
        float factor = batchMax[lane] == Float.NEGATIVE_INFINITY ? 1 : factors[count + lane];
        arithmetic.scaleAndAdd(
            before, factor, buffer, lane * valueDim, weighted, row * valueDim, valueDim);
        sum[row] = sum[row] * before + batchSum[lane] * factor;
      }
    }

    /** Writes what was asked for. A row that saw no key has out 0, lse -inf and no block. */
    void store() {
      for (int r = 0; r < rows.rows; r++) {
        boolean any = sum[r] != 0;
        for (int c = 0; c < valueDim; c++) {
          buffer[c] = any ? weighted[r * valueDim + c] / sum[r] : 0;
        }
        rows.write(arithmetic, buffer, 0, out, r);
        long t = rows.token(r);
        int h = rows.head(r);
        if (lse != null) {
          lse.set(t, h, any ? max[r] + Math.log(sum[r]) : Double.NEGATIVE_INFINITY);
        }
        for (int slot = 0; selection != null && slot < spec.topK() - 1; slot++) {
          int at = rows.pastStarts[r] + slot;
          selection.set(t, h, slot, any && at < rows.pastStarts[r + 1] ? rows.past[at] : -1);
        }
      }
    }
  }
}
