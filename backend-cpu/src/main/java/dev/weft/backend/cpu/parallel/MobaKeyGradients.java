package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * dk = scale dS^T q and dv = P^T dout, each key's summed over all rows of its group that read it. A
 * task is a tile of keys (or several small blocks) of one kv head, to which its readers come in
 * order: those of its own block, then those that selected it.
 */
final class MobaKeyGradients {
  // Readers whose sums are kept apart before they join the total: thousands may read one key.
  private static final int RUN = 64;

  private final MobaAttentionSpec spec;
  private final List<MobaSequence> sequences;
  private final MobaReaders readers;
  private final int group;
  private final Elements q;
  private final Elements out;
  private final Elements lse;
  private final Elements dout;
  private final @Nullable Elements dk;
  private final @Nullable Elements dv;

  MobaKeyGradients(
      MobaAttentionSpec spec, List<MobaSequence> sequences, MobaBackward a, MobaReaders readers) {
    this.spec = spec;
    this.sequences = sequences;
    this.readers = readers;
    group = spec.heads() / spec.kvHeads();
    q = Elements.of(a.q());
    out = Elements.of(a.out());
    lse = Elements.of(a.lse());
    dout = Elements.of(a.dout());
    Tensor keyGradients = a.dk();
    dk = keyGradients == null ? null : Elements.of(keyGradients);
    Tensor valueGradients = a.dv();
    dv = valueGradients == null ? null : Elements.of(valueGradients);
  }

  void run(WorkPool pool, int fromHead, int toHead) {
    List<MobaBlockTable.Piece> pieces = new ArrayList<>();
    int blocksPerPiece = Math.max(1, MobaTile.KEYS / spec.blockSize());
    for (int s = 0; s < sequences.size(); s++) {
      int blocks = Math.ceilDiv(sequences.get(s).keys(), spec.blockSize());
      MobaBlockTable.cut(s, 0, blocks, blocksPerPiece, pieces);
    }
    int heads = toHead - fromHead;
    pool.run(
        Math.multiplyExact(pieces.size(), heads),
        task -> {
          MobaBlockTable.Piece piece = pieces.get(task / heads);
          Keys keys = new Keys(piece.sequence(), fromHead + task % heads);
          for (int block = piece.from(); block < piece.to(); block++) {
            keys.block(block);
          }
        });
  }

  private final class Keys {
    private final int dim = spec.headDim();
    private final int valueDim = spec.valueDim();
    private final int s;
    private final int kvHead;
    private final MobaSequence sequence;
    private final float[] k = new float[MobaTile.KEYS * dim];
    private final float[] v = new float[MobaTile.KEYS * valueDim];
    private final float[] transposedKeys = new float[MobaTile.KEYS * dim];
    private final float[] transposedValues = new float[MobaTile.KEYS * valueDim];
    private final boolean[] absent = new boolean[MobaTile.KEYS];
    private final float[] keySum = new float[MobaTile.KEYS * dim];
    private final float[] valueSum = new float[MobaTile.KEYS * valueDim];
    private final float[] keyPart = new float[MobaTile.KEYS * dim];
    private final float[] valuePart = new float[MobaTile.KEYS * valueDim];
    private final float[] query = new float[dim];
    private final float[] gradient = new float[valueDim];
    private final float[] output = new float[valueDim];
    private final float[] scores = new float[MobaTile.KEYS];
    private final float[] dp = new float[MobaTile.KEYS];
    private final float[] scratch = new float[MobaTile.KEYS];
    private int count;
    private int pending;

    Keys(int s, int kvHead) {
      this.s = s;
      this.kvHead = kvHead;
      sequence = sequences.get(s);
    }

    void block(int block) {
      int start = block * spec.blockSize();
      int end = (int) Math.min((long) start + spec.blockSize(), sequence.keys());
      for (int from = start; from < end; from += MobaTile.KEYS) {
        tile(block, from, Math.min(end, from + MobaTile.KEYS), end);
      }
    }

    private void tile(int block, int from, int to, int blockEnd) {
      count = to - from;
      MobaTile.loadKeys(sequence, kvHead, from, count, dim, k, absent);
      MobaTile.transpose(k, count, dim, transposedKeys);
      MobaTile.loadValues(sequence, kvHead, from, count, valueDim, v);
      MobaTile.transpose(v, count, valueDim, transposedValues);
      Arrays.fill(keySum, 0);
      Arrays.fill(valueSum, 0);
      Arrays.fill(keyPart, 0);
      Arrays.fill(valuePart, 0);
      pending = 0;
      for (int position = from; position < blockEnd; position++) {
        for (int g = 0; g < group; g++) {
          read((long) position * group + g, Math.min(count, position - from + 1));
        }
      }
      readers.each(s, kvHead, block, row -> read(row, count));
      join();
      store(from);
    }

    private void read(long row, int visible) {
      long t = sequence.firstRow() + row / group;
      int h = kvHead * group + (int) (row % group);
      q.copyRow(query, 0, t, h);
      dout.copyRow(gradient, 0, t, h);
      out.copyRow(output, 0, t, h);
      float delta = MobaTile.dot(gradient, 0, output, 0, valueDim);
      float logSum = lse.getFloat(t, h);
      MobaTile.dots(query, 0, dim, transposedKeys, visible, scores, scratch);
      MobaTile.dots(gradient, 0, valueDim, transposedValues, visible, dp, scratch);
      for (int j = 0; j < visible; j++) {
        float p = (float) Math.exp(scores[j] * spec.scale() - logSum);
        MobaTile.addScaled(p, gradient, 0, valuePart, j * valueDim, valueDim);
        MobaTile.addScaled(p * (dp[j] - delta), query, 0, keyPart, j * dim, dim);
      }
      if (++pending == RUN) {
        join();
      }
    }

    private void join() {
      add(keyPart, keySum, count * dim);
      add(valuePart, valueSum, count * valueDim);
      pending = 0;
    }

    private static void add(float[] part, float[] sum, int length) {
      for (int i = 0; i < length; i++) {
        sum[i] += part[i];
        part[i] = 0;
      }
    }

    private void store(int from) {
      for (int j = 0; j < count; j++) {
        long t = (long) sequence.firstRow() + from + j;
        for (int c = 0; c < dim; c++) {
          keySum[j * dim + c] *= spec.scale();
        }
        if (dk != null) {
          dk.setRow(keySum, j * dim, t, kvHead);
        }
        if (dv != null) {
          dv.setRow(valueSum, j * valueDim, t, kvHead);
        }
      }
    }
  }
}
