package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeWeights;
import org.jspecify.annotations.Nullable;

/** How MoE reads and writes tensors whose rows are tokens. */
final class MoeRows {
  private static final int TASK = 64;

  private MoeRows() {}

  /** The rows of a matrix. */
  static MatrixRows of(Tensor tensor) {
    Elements elements = Elements.of(tensor);
    return new MatrixRows(
        elements.dataType(),
        elements.segment(),
        elements.byteOffset(),
        elements.stride(0) * elements.dataType().bytes(),
        Math.toIntExact(elements.size(1)));
  }

  /** The number of tokens that are there: all rows, or as many as the device says. */
  static int tokens(Tensor x, @Nullable Tensor tokenCount) {
    int rows = Math.toIntExact(x.size(0));
    return tokenCount == null ? rows : Math.clamp(Elements.of(tokenCount).getInt(0), 0, rows);
  }

  /** Reads the first rows of a matrix. */
  static float[][] read(Compute compute, Tensor tensor, int count) {
    MatrixRows matrix = of(tensor);
    float[][] rows = new float[count][matrix.length()];
    compute.run(
        Math.ceilDiv(count, TASK),
        (task, scratch) -> {
          for (int r = task * TASK; r < Math.min(count, (task + 1) * TASK); r++) {
            compute
                .arithmetic()
                .read(
                    matrix.type(),
                    matrix.segment(),
                    matrix.offset(r, 0),
                    rows[r],
                    0,
                    rows[r].length);
          }
        });
    return rows;
  }

  /** Writes the first rows of a matrix, if it is wanted. */
  static void write(Compute compute, @Nullable Tensor tensor, float[][] rows) {
    if (tensor == null) {
      return;
    }
    MatrixRows matrix = of(tensor);
    compute.run(
        Math.ceilDiv(rows.length, TASK),
        (task, scratch) -> {
          for (int r = task * TASK; r < Math.min(rows.length, (task + 1) * TASK); r++) {
            compute
                .arithmetic()
                .write(
                    matrix.type(),
                    rows[r],
                    0,
                    matrix.segment(),
                    matrix.offset(r, 0),
                    rows[r].length);
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

  /** Reads a vector; empty where there is none. */
  static float[] vector(@Nullable Tensor tensor) {
    if (tensor == null) {
      return new float[0];
    }
    float[] vector = new float[Math.toIntExact(tensor.size(0))];
    Elements.of(tensor).copyRow(vector, 0);
    return vector;
  }

  /** The weight of the shared expert's gate; empty where there is none. */
  static float[] sharedGate(MoeDispatchSpec spec, MoeWeights weights) {
    Tensor tensor = weights.sharedGateWeight();
    if (tensor == null) {
      return new float[0];
    }
    float[] gate = new float[spec.hidden()];
    Elements.of(tensor).copyRow(gate, 0, 0);
    return gate;
  }

  static float sigmoid(float x) {
    return (float) (1 / (1 + Math.exp(-x)));
  }
}
