package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** dq = scale dS k: a task is a tile of queries, which walks its blocks as forward does. */
final class MobaQueryGradients {
  private final MobaAttentionSpec spec;
  private final Elements q;
  private final Elements out;
  private final Elements lse;
  private final Elements dout;
  private final Elements dq;
  private final @Nullable Elements selection;
  private final MobaQueries.Cut cut;

  MobaQueryGradients(
      MobaAttentionSpec spec, List<MobaSequence> sequences, MobaBackward a, Tensor dq) {
    this.spec = spec;
    q = Elements.of(a.q());
    out = Elements.of(a.out());
    lse = Elements.of(a.lse());
    dout = Elements.of(a.dout());
    this.dq = Elements.of(dq);
    Tensor given = a.selection();
    selection = given == null ? null : Elements.of(given);
    cut = new MobaQueries.Cut(spec, sequences);
  }

  void run(WorkPool pool) {
    int heads = spec.kvHeads();
    pool.run(
        Math.multiplyExact(cut.tiles(), heads),
        task -> {
          MobaQueries queries = cut.tile(task / heads, task % heads);
          queries.takeSelection(selection);
          Rows rows = new Rows(queries);
          queries.walk(rows);
          rows.store();
        });
  }

  private final class Rows implements MobaQueries.Visitor {
    private final int dim = spec.headDim();
    private final int valueDim = spec.valueDim();
    private final MobaQueries queries;
    private final float[] query;
    private final float[] gradient;
    private final float[] delta;
    private final float[] sum;
    private final float[] k = new float[MobaTile.KEYS * dim];
    private final float[] v = new float[MobaTile.KEYS * valueDim];
    private final float[] transposedKeys = new float[MobaTile.KEYS * dim];
    private final float[] transposedValues = new float[MobaTile.KEYS * valueDim];
    private final boolean[] absent = new boolean[MobaTile.KEYS];
    private final float[] s = new float[MobaTile.KEYS];
    private final float[] dp = new float[MobaTile.KEYS];
    private final float[] scratch = new float[MobaTile.KEYS];
    private final float[] part = new float[dim];

    Rows(MobaQueries queries) {
      this.queries = queries;
      query = queries.load(q);
      gradient = queries.load(dout);
      float[] output = queries.load(out);
      delta = new float[queries.rows];
      for (int r = 0; r < queries.rows; r++) {
        delta[r] = MobaTile.dot(gradient, r * valueDim, output, r * valueDim, valueDim);
      }
      sum = new float[queries.rows * dim];
    }

    @Override
    public void load(int from, int count) {
      MobaTile.loadKeys(queries.sequence, queries.kvHead, from, count, dim, k, absent);
      MobaTile.transpose(k, count, dim, transposedKeys);
      MobaTile.loadValues(queries.sequence, queries.kvHead, from, count, valueDim, v);
      MobaTile.transpose(v, count, valueDim, transposedValues);
    }

    @Override
    public void visit(int row, int visible) {
      float logSum = lse.getFloat(queries.token(row), queries.head(row));
      MobaTile.dots(query, row * dim, dim, transposedKeys, visible, s, scratch);
      MobaTile.dots(gradient, row * valueDim, valueDim, transposedValues, visible, dp, scratch);
      Arrays.fill(part, 0);
      for (int j = 0; j < visible; j++) {
        float p = (float) Math.exp(s[j] * spec.scale() - logSum);
        MobaTile.addScaled(p * (dp[j] - delta[row]), k, j * dim, part, 0, dim);
      }
      for (int c = 0; c < dim; c++) {
        sum[row * dim + c] += part[c];
      }
    }

    void store() {
      for (int i = 0; i < sum.length; i++) {
        sum[i] *= spec.scale();
      }
      queries.store(sum, dq);
    }
  }
}
