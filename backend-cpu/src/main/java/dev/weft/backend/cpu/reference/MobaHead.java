package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * What one kv head of one sequence shows to its queries, in float64: keys [keys, D] and values
 * [keys, Dv] by position, means [blocks, D] of the complete blocks.
 */
final class MobaHead {
  final int dim;
  final int valueDim;
  final double[] k;
  final double[] v;
  final double[] means;

  private final int blockSize;
  private final int topK;
  private final int keys;
  private final boolean[] absent;

  private MobaHead(MobaAttentionSpec spec, int keys) {
    dim = spec.headDim();
    valueDim = spec.valueDim();
    blockSize = spec.blockSize();
    topK = spec.topK();
    this.keys = keys;
    k = new double[Math.multiplyExact(keys, dim)];
    v = new double[Math.multiplyExact(keys, valueDim)];
    means = new double[Math.multiplyExact(keys / blockSize, dim)];
    absent = new boolean[keys];
  }

  /**
   * Reads a head of packed rows and computes the means of its complete blocks.
   *
   * @param scored whether means are wanted
   */
  static MobaHead packed(
      MobaAttentionSpec spec, MobaSequence sequence, int kvHead, boolean scored) {
    MobaHead head = new MobaHead(spec, sequence.keys());
    head.readRows(sequence, kvHead);
    for (int block = 0; scored && block < head.completeBlocks(); block++) {
      for (int c = 0; c < head.dim; c++) {
        double sum = 0;
        for (int j = block * head.blockSize; j < (block + 1) * head.blockSize; j++) {
          sum += head.k[j * head.dim + c];
        }
        head.means[block * head.dim + c] = spec.dataType().round(sum / head.blockSize);
      }
    }
    return head;
  }

  /** Reads a head of the cache, stored means included. */
  static MobaHead paged(MobaAttentionSpec spec, MobaSequence sequence, int kvHead) {
    MobaHead head = new MobaHead(spec, sequence.keys());
    head.readRows(sequence, kvHead);
    float[] row = new float[spec.headDim()];
    for (int block = 0; block < head.completeBlocks(); block++) {
      // Without a page there is no mean; NaN makes the block come last, as any NaN score does.
      if (!sequence.copyMean(block, kvHead, row, 0)) {
        Arrays.fill(row, Float.NaN);
      }
      widen(row, head.means, block * row.length);
    }
    return head;
  }

  private void readRows(MobaSequence sequence, int kvHead) {
    float[] key = new float[dim];
    float[] value = new float[valueDim];
    for (int j = 0; j < keys; j++) {
      absent[j] = !sequence.copyKey(j, kvHead, key, 0);
      if (!absent[j]) {
        sequence.copyValue(j, kvHead, value, 0);
        widen(key, k, j * dim);
        widen(value, v, j * valueDim);
      }
    }
  }

  private int completeBlocks() {
    return keys / blockSize;
  }

  /** Returns the scores of the blocks before one: q . mean, unscaled. */
  double[] scores(double[] q, int ownBlock) {
    double[] scores = new double[ownBlock];
    for (int block = 0; block < ownBlock; block++) {
      scores[block] = dot(q, 0, means, block * dim, dim);
    }
    return scores;
  }

  /** Returns the past blocks that a query attends to, ascending. */
  int[] select(double[] q, int ownBlock) {
    if (ownBlock <= topK - 1) {
      return allBefore(ownBlock);
    }
    return topK == 1 ? new int[0] : highest(scores(q, ownBlock), topK - 1);
  }

  static int[] allBefore(int ownBlock) {
    int[] blocks = new int[ownBlock];
    Arrays.setAll(blocks, block -> block);
    return blocks;
  }

  /** Returns where the highest scores are, ascending; NaN is -inf, ties go to the lower index. */
  static int[] highest(double[] scores, int most) {
    int[] best = new int[Math.min(most, scores.length)];
    int count = 0;
    for (int i = 0; i < scores.length; i++) {
      int at = count;
      // Strictly: an equal score of a lower index stays ahead.
      while (at > 0 && value(scores[best[at - 1]]) < value(scores[i])) {
        at--;
      }
      if (at < best.length) {
        count = Math.min(count + 1, best.length);
        System.arraycopy(best, at, best, at + 1, count - 1 - at);
        best[at] = i;
      }
    }
    Arrays.sort(best);
    return best;
  }

  static double value(double score) {
    return Double.isNaN(score) ? Double.NEGATIVE_INFINITY : score;
  }

  /**
   * Reads a given selection of one query.
   *
   * @param selection [T, H, topK-1], or null where all past blocks are selected
   * @return the past blocks in it, in its order
   */
  static int[] given(@Nullable Elements selection, long row, int head, int ownBlock) {
    if (selection == null) {
      return allBefore(ownBlock);
    }
    int[] blocks = new int[Math.toIntExact(selection.size(2))];
    int count = 0;
    for (int slot = 0; slot < blocks.length; slot++) {
      int block = selection.getInt(row, head, slot);
      if (block >= 0 && block < ownBlock) {
        blocks[count++] = block;
      }
    }
    return Arrays.copyOf(blocks, count);
  }

  static @Nullable Elements elements(@Nullable Tensor tensor) {
    return tensor == null ? null : Elements.of(tensor);
  }

  /** Tells whether a query sees no key at all, all that it would see being out of range. */
  boolean isBlind(double[] q, int position) {
    return absent[position] && visible(position, select(q, position / blockSize)).length == 0;
  }

  /** Returns the positions that a query sees: its past blocks whole, its own up to itself. */
  int[] visible(int position, int[] pastBlocks) {
    int ownStart = position - position % blockSize;
    int[] positions = new int[pastBlocks.length * blockSize + position - ownStart + 1];
    int count = 0;
    for (int block : pastBlocks) {
      for (int j = block * blockSize; j < (block + 1) * blockSize; j++) {
        positions[count] = j;
        count += absent[j] ? 0 : 1;
      }
    }
    for (int j = ownStart; j <= position; j++) {
      positions[count] = j;
      count += absent[j] ? 0 : 1;
    }
    return Arrays.copyOf(positions, count);
  }

  static double dot(double[] a, int aAt, double[] b, int bAt, int length) {
    double sum = 0;
    for (int c = 0; c < length; c++) {
      sum += a[aAt + c] * b[bAt + c];
    }
    return sum;
  }

  /** Reads a row of a tensor of rank 3, widened. */
  static double[] row(Elements elements, long i, long j) {
    float[] row = new float[Math.toIntExact(elements.size(elements.rank() - 1))];
    elements.copyRow(row, 0, i, j);
    double[] wide = new double[row.length];
    widen(row, wide, 0);
    return wide;
  }

  private static void widen(float[] from, double[] into, int at) {
    for (int c = 0; c < from.length; c++) {
      into[at + c] = from[c];
    }
  }
}
