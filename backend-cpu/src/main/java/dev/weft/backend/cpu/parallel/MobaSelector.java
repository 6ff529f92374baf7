package dev.weft.backend.cpu.parallel;

import dev.weft.moba.MobaAttentionSpec;
import java.util.Arrays;

/**
 * Selects past blocks for a tile of queries: the highest dot products of query and block mean, in
 * F32. Means go through in ascending tiles; each row keeps its best so far.
 */
final class MobaSelector {
  /** Where means come from. */
  interface Means {
    /** Reads a mean; false, with nothing read, where there is none. */
    boolean copy(int block, float[] into, int at);
  }

  private MobaSelector() {}

  /** Fills {@link MobaQueries#past}. */
  static void select(MobaAttentionSpec spec, MobaQueries queries, float[] q, Means means) {
    if (spec.topK() == 1 || queries.sequence.keys() == 0) {
      return;
    }
    int most = spec.topK() - 1;
    int scored = 0; // blocks that some row must score
    for (int r = 0; r < queries.rows; r++) {
      int own = queries.ownBlock(r);
      if (own <= most) {
        queries.past[r] = new int[own];
        Arrays.setAll(queries.past[r], block -> block);
      } else {
        queries.past[r] = new int[most];
        scored = Math.max(scored, own);
      }
    }
    if (scored == 0) {
      return;
    }
    int dim = spec.headDim();
    float[] rows = new float[MobaTile.KEYS * dim];
    float[] transposed = new float[MobaTile.KEYS * dim];
    float[] scores = new float[MobaTile.KEYS];
    float[] part = new float[MobaTile.KEYS];
    float[][] best = new float[queries.rows][];
    for (int from = 0; from < scored; from += MobaTile.KEYS) {
      int count = Math.min(MobaTile.KEYS, scored - from);
      for (int j = 0; j < count; j++) {
        if (!means.copy(from + j, rows, j * dim)) {
          // Without a mean the block comes last, as any NaN score does.
          Arrays.fill(rows, j * dim, (j + 1) * dim, Float.NaN);
        }
      }
      MobaTile.transpose(rows, count, dim, transposed);
      for (int r = 0; r < queries.rows; r++) {
        int own = queries.ownBlock(r);
        if (own <= most || own <= from) {
          continue;
        }
        if (best[r] == null) {
          best[r] = new float[most];
        }
        MobaTile.dots(q, r * dim, dim, transposed, count, scores, part);
        for (int j = 0; j < Math.min(count, own - from); j++) {
          float score = Float.isNaN(scores[j]) ? Float.NEGATIVE_INFINITY : scores[j];
          insert(score, from + j, best[r], queries.past[r]);
        }
      }
    }
    for (int[] blocks : queries.past) {
      Arrays.sort(blocks);
    }
  }

  /** Inserts the block of this index, those before it being in already. */
  private static void insert(float score, int block, float[] best, int[] blocks) {
    int held = Math.min(block, blocks.length);
    int at = held;
    // Strictly: an equal score of a lower index stays ahead.
    while (at > 0 && best[at - 1] < score) {
      at--;
    }
    if (at == blocks.length) {
      return;
    }
    int moved = Math.min(held, blocks.length - 1) - at;
    System.arraycopy(best, at, best, at + 1, moved);
    System.arraycopy(blocks, at, blocks, at + 1, moved);
    best[at] = score;
    blocks[at] = block;
  }
}
