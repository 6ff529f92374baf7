package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Arrays;

/**
 * Selects past blocks for the rows of a task: the highest dot products of query and block mean, in
 * F32. Means go through in ascending tiles; each row keeps its best so far, so that the scores are
 * never there all at once.
 */
final class MobaSelector {
  private static final int LANES = Arithmetic.LANES;

  // Means that are scored at once.
  private static final int TILE = 128;

  private static final int QUERIES = 2;
  private static final int SCORES = 3;
  private static final int MEANS = 4;
  private static final int BUFFER = 8;
  private static final int BEST = 16;

  // Of integers, beyond those of MobaRows.
  private static final int SCORING = 8;

  /** Where means come from. */
  interface Means {
    /** Reads a mean; false, with nothing read, where there is none. */
    boolean copy(int block, float[] into, int at);
  }

  private MobaSelector() {}

  /** Fills {@link MobaRows#past}. */
  static void select(
      MobaAttentionSpec spec,
      Arithmetic arithmetic,
      TaskScratch scratch,
      MobaRows rows,
      Elements q,
      Means means) {
    if (spec.topK() == 1 || rows.sequence.keys() == 0) {
      return;
    }
    int most = spec.topK() - 1;
    // Rows with more past blocks than they may select.
    int[] scoring = scratch.ints(SCORING, rows.rows);
    int count = 0;
    int[] past = rows.past(Math.multiplyExact(rows.rows, most));
    int[] starts = rows.pastStarts;
    for (int r = 0; r < rows.rows; r++) {
      int own = rows.ownBlock(r);
      int at = starts[r];
      if (own <= most) {
        for (int block = 0; block < own; block++) {
          past[at + block] = block;
        }
      } else {
        scoring[count++] = r;
      }
      starts[r + 1] = at + Math.min(own, most);
    }
    int dim = spec.headDim();
    float[] queries = scratch.floats(QUERIES, dim * LANES);
    float[] scores = scratch.floats(SCORES, TILE * LANES);
    float[] tile = scratch.floats(MEANS, TILE * dim);
    float[] buffer = scratch.floats(BUFFER, LANES * dim);
    float[] best = scratch.floats(BEST, LANES * most);
    int tileAt = -1; // which means are loaded
    for (int first = 0; first < count; first += LANES) {
      int some = Math.min(LANES, count - first);
      int lanes = arithmetic.wholeVectors(some);
      rows.pack(arithmetic, q, scoring, first, some, queries, buffer);
      int scored = rows.ownBlock(scoring[first + some - 1]);
      for (int from = 0; from < scored; from += TILE) {
        int blocks = Math.min(TILE, rows.ownBlock(scoring[count - 1]) - from);
        if (tileAt != from) {
          read(means, from, blocks, dim, tile);
          tileAt = from;
        }
        Arrays.fill(scores, 0, blocks * LANES, 0);
        arithmetic.multiplyRows(blocks, dim, lanes, tile, 0, dim, queries, 0, scores, 0);
        for (int lane = 0; lane < some; lane++) {
          int row = scoring[first + lane];
          int there = Math.min(blocks, rows.ownBlock(row) - from);
          for (int j = 0; j < there; j++) {
            float score = scores[j * LANES + lane];
            insert(
                Float.isNaN(score) ? Float.NEGATIVE_INFINITY : score,
                from + j,
                best,
                lane * most,
                past,
                starts[row],
                most);
          }
        }
      }
      for (int lane = 0; lane < some; lane++) {
        int row = scoring[first + lane];
        Arrays.sort(past, starts[row], starts[row + 1]);
      }
    }
  }

  private static void read(Means means, int from, int blocks, int dim, float[] tile) {
    for (int j = 0; j < blocks; j++) {
      if (!means.copy(from + j, tile, j * dim)) {
        // Without a mean the block comes last, as any NaN score does.
        Arrays.fill(tile, j * dim, (j + 1) * dim, Float.NaN);
      }
    }
  }

  /** Inserts the block of this index, those before it being in already, best first. */
  private static void insert(
      float score, int block, float[] best, int bestAt, int[] blocks, int blocksAt, int most) {
    int held = Math.min(block, most);
    int at = held;
    // Strictly: an equal score of a lower index stays ahead.
    while (at > 0 && best[bestAt + at - 1] < score) {
      at--;
    }
    if (at == most) {
      return;
    }
    int moved = Math.min(held, most - 1) - at;
    System.arraycopy(best, bestAt + at, best, bestAt + at + 1, moved);
    System.arraycopy(blocks, blocksAt + at, blocks, blocksAt + at + 1, moved);
    best[bestAt + at] = score;
    blocks[blocksAt + at] = block;
  }
}
