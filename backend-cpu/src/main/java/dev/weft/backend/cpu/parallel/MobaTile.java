package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.moba.MobaSequence;
import java.util.Arrays;

/**
 * The inner loops over a tile: up to {@link #KEYS} keys of one block. Rows lie densely; a
 * transposed tile has the keys innermost, {@link #KEYS} apart, so that the dot products of one
 * query with all keys run along the keys.
 *
 * <p>Every result depends on its own query and key alone, not on the tile's other keys or on where
 * it lies: decoding a token gives the bits that prefill gave it.
 */
final class MobaTile {
  /** Keys per tile: a tile of 128-wide rows, transposed, fits the first-level cache. */
  static final int KEYS = 64;

  // Long sums go in two levels, lest the errors of many like terms pile up.
  private static final int RUN = 32;

  private MobaTile() {}

  /**
   * Loads keys; those whose page is out of range become zeros.
   *
   * @param absent set for each key
   */
  static void loadKeys(
      MobaSequence sequence,
      int kvHead,
      int from,
      int count,
      int dim,
      float[] k,
      boolean[] absent) {
    for (int j = 0; j < count; j++) {
      absent[j] = !sequence.copyKey(from + j, kvHead, k, j * dim);
      if (absent[j]) {
        Arrays.fill(k, j * dim, (j + 1) * dim, 0);
      }
    }
  }

  /** Loads values; those whose page is out of range become zeros. */
  static void loadValues(
      MobaSequence sequence, int kvHead, int from, int count, int dim, float[] v) {
    for (int j = 0; j < count; j++) {
      if (!sequence.copyValue(from + j, kvHead, v, j * dim)) {
        Arrays.fill(v, j * dim, (j + 1) * dim, 0);
      }
    }
  }

  static void transpose(float[] rows, int count, int dim, float[] transposed) {
    for (int j = 0; j < count; j++) {
      for (int c = 0; c < dim; c++) {
        transposed[c * KEYS + j] = rows[j * dim + c];
      }
    }
  }

  /**
   * Dot products of one row with the keys of a transposed tile.
   *
   * @param part scratch of {@link #KEYS}
   */
  static void dots(
      float[] row, int at, int dim, float[] transposed, int count, float[] into, float[] part) {
    Arrays.fill(into, 0, count, 0);
    for (int start = 0; start < dim; start += RUN) {
      int end = Math.min(dim, start + RUN);
      Arrays.fill(part, 0, count, 0);
      for (int c = start; c < end; c++) {
        float x = row[at + c];
        int key = c * KEYS;
        for (int j = 0; j < count; j++) {
          part[j] += x * transposed[key + j];
        }
      }
      for (int j = 0; j < count; j++) {
        into[j] += part[j];
      }
    }
  }

  /** sum += factor * row. */
  static void addScaled(float factor, float[] row, int at, float[] sum, int sumAt, int length) {
    for (int c = 0; c < length; c++) {
      sum[sumAt + c] += factor * row[at + c];
    }
  }

  /** A dot product in two levels. */
  static float dot(float[] a, int aAt, float[] b, int bAt, int length) {
    float sum = 0;
    for (int start = 0; start < length; start += RUN) {
      int end = Math.min(length, start + RUN);
      float part = 0;
      for (int c = start; c < end; c++) {
        part += a[aAt + c] * b[bAt + c];
      }
      sum += part;
    }
    return sum;
  }
}
