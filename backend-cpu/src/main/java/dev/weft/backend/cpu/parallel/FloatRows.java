package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.WorkPool;
import org.jspecify.annotations.Nullable;

/** Rows of floats: how MoE reads and writes matrices, and its sums over them. */
final class FloatRows {
  /** Rows that one task reads, writes or routes. */
  static final int TASK = 16;

  private FloatRows() {}

  /** The number of tasks for some rows. */
  static int tasks(int rows) {
    return (rows + TASK - 1) / TASK;
  }

  /** Reads the first rows of a matrix. */
  static float[][] read(WorkPool pool, Tensor tensor, int count) {
    Elements matrix = Elements.of(tensor);
    float[][] rows = new float[count][Math.toIntExact(matrix.size(1))];
    pool.run(
        tasks(count),
        task -> {
          for (int r = task * TASK; r < Math.min(count, (task + 1) * TASK); r++) {
            matrix.copyRow(rows[r], 0, r);
          }
        });
    return rows;
  }

  /** Writes the first rows of a matrix, if it is wanted. */
  static void write(WorkPool pool, @Nullable Tensor tensor, float[][] rows) {
    if (tensor == null) {
      return;
    }
    Elements matrix = Elements.of(tensor);
    pool.run(
        tasks(rows.length),
        task -> {
          for (int r = task * TASK; r < Math.min(rows.length, (task + 1) * TASK); r++) {
            matrix.setRow(rows[r], 0, r);
          }
        });
  }

  /** Writes the first rows of an I32 matrix, if it is wanted. */
  static void write(@Nullable Tensor tensor, int[][] rows) {
    Elements matrix = tensor == null ? null : Elements.of(tensor);
    for (int r = 0; matrix != null && r < rows.length; r++) {
      for (int i = 0; i < rows[r].length; i++) {
        matrix.set(r, i, rows[r][i]);
      }
    }
  }

  /** Reads the first rows of an I32 matrix. */
  static int[][] readInts(Tensor tensor, int count) {
    Elements matrix = Elements.of(tensor);
    int[][] rows = new int[count][Math.toIntExact(matrix.size(1))];
    for (int r = 0; r < count; r++) {
      for (int i = 0; i < rows[r].length; i++) {
        rows[r][i] = matrix.getInt(r, i);
      }
    }
    return rows;
  }

  /** The dot product of two rows, in four sums. */
  static float dot(float[] a, float[] b) {
    float s0 = 0;
    float s1 = 0;
    float s2 = 0;
    float s3 = 0;
    int i = 0;
    for (; i + 3 < a.length; i += 4) {
      s0 += a[i] * b[i];
      s1 += a[i + 1] * b[i + 1];
      s2 += a[i + 2] * b[i + 2];
      s3 += a[i + 3] * b[i + 3];
    }
    for (; i < a.length; i++) {
      s0 += a[i] * b[i];
    }
    return (s0 + s1) + (s2 + s3);
  }

  /** Adds factor * from to into. */
  static void addScaled(float[] into, float factor, float[] from) {
    for (int i = 0; i < from.length; i++) {
      into[i] += factor * from[i];
    }
  }
}
