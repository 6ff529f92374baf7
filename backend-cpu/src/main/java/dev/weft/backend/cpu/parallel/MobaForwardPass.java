package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Attention of all queries, packed or paged. A task is one tile of queries: it selects blocks, then
 * walks them with a running softmax per row. Used by one launch.
 */
final class MobaForwardPass {
  private final MobaAttentionSpec spec;
  private final Elements q;
  private final Elements out;
  private final @Nullable Elements lse;
  private final @Nullable Elements selection;
  private final MobaQueries.Cut cut;

  MobaForwardPass(
      MobaAttentionSpec spec,
      List<MobaSequence> sequences,
      Tensor q,
      Tensor out,
      @Nullable Tensor lse,
      @Nullable Tensor selection) {
    this.spec = spec;
    this.q = Elements.of(q);
    this.out = Elements.of(out);
    this.lse = lse == null ? null : Elements.of(lse);
    this.selection = selection == null ? null : Elements.of(selection);
    cut = new MobaQueries.Cut(spec, sequences);
  }

  /** Finds the means of one sequence and kv head. */
  interface MeansOf {
    MobaSelector.Means of(int sequence, int kvHead);
  }

  /** Attends with the kv heads from one up to another. */
  void run(WorkPool pool, MeansOf means, int fromHead, int toHead) {
    int heads = toHead - fromHead;
    pool.run(
        Math.multiplyExact(cut.tiles(), heads),
        task -> {
          int tile = task / heads;
          int kvHead = fromHead + task % heads;
          attend(cut.tile(tile, kvHead), means.of(cut.sequenceOf(tile), kvHead));
        });
  }

  private void attend(MobaQueries queries, MobaSelector.Means means) {
    float[] query = queries.load(q);
    MobaSelector.select(spec, queries, query, means);
    Rows rows = new Rows(queries, query);
    queries.walk(rows);
    rows.store();
  }

  /** The running softmax of each row: its maximum, its sum, its weighted values. */
  private final class Rows implements MobaQueries.Visitor {
    private final int dim = spec.headDim();
    private final int valueDim = spec.valueDim();
    private final MobaQueries queries;
    private final float[] query;
    private final float[] max;
    private final double[] sum;
    private final float[] weighted;
    private final float[] k = new float[MobaTile.KEYS * dim];
    private final float[] transposed = new float[MobaTile.KEYS * dim];
    private final float[] v = new float[MobaTile.KEYS * valueDim];
    private final boolean[] absent = new boolean[MobaTile.KEYS];
    private final float[] s = new float[MobaTile.KEYS];
    private final float[] scratch = new float[MobaTile.KEYS];
    private final float[] part = new float[valueDim];

    Rows(MobaQueries queries, float[] query) {
      this.queries = queries;
      this.query = query;
      max = new float[queries.rows];
      Arrays.fill(max, Float.NEGATIVE_INFINITY);
      sum = new double[queries.rows];
      weighted = new float[queries.rows * valueDim];
    }

    @Override
    public void load(int from, int count) {
      MobaTile.loadKeys(queries.sequence, queries.kvHead, from, count, dim, k, absent);
      MobaTile.transpose(k, count, dim, transposed);
      MobaTile.loadValues(queries.sequence, queries.kvHead, from, count, valueDim, v);
    }

    @Override
    public void visit(int row, int visible) {
      MobaTile.dots(query, row * dim, dim, transposed, visible, s, scratch);
      float highest = max[row];
      for (int j = 0; j < visible; j++) {
        s[j] = absent[j] ? Float.NEGATIVE_INFINITY : s[j] * spec.scale();
        highest = Math.max(highest, s[j]);
      }
      if (highest == Float.NEGATIVE_INFINITY) {
        return; // no key yet
      }
      // Each tile is summed apart: adding thousands of like terms one by one would lose more.
      Arrays.fill(part, 0);
      double tileSum = 0;
      for (int j = 0; j < visible; j++) {
        float p = (float) Math.exp(s[j] - highest);
        tileSum += p;
        if (!absent[j]) {
          MobaTile.addScaled(p, v, j * valueDim, part, 0, valueDim);
        }
      }
      float rescale = (float) Math.exp(max[row] - highest);
      for (int c = 0; c < valueDim; c++) {
        int at = row * valueDim + c;
        weighted[at] = weighted[at] * rescale + part[c];
      }
      sum[row] = sum[row] * rescale + tileSum;
      max[row] = highest;
    }

    /** Writes what was asked for. A row that saw no key has out 0, lse -inf and no block. */
    void store() {
      for (int r = 0; r < queries.rows; r++) {
        boolean any = sum[r] != 0;
        for (int c = 0; any && c < valueDim; c++) {
          weighted[r * valueDim + c] = (float) (weighted[r * valueDim + c] / sum[r]);
        }
        long t = queries.token(r);
        int h = queries.head(r);
        if (lse != null) {
          lse.set(t, h, any ? max[r] + Math.log(sum[r]) : Double.NEGATIVE_INFINITY);
        }
        for (int slot = 0; selection != null && slot < spec.topK() - 1; slot++) {
          int[] past = queries.past[r];
          selection.set(t, h, slot, any && slot < past.length ? past[slot] : -1);
        }
      }
      queries.store(weighted, out);
    }
  }
}
