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

  /** Reads the first rows of a matrix, one after another. */
  static void read(Compute compute, Tensor tensor, int count, float[] into) {
    MatrixRows matrix = of(tensor);
    int length = matrix.length();
    compute.run(
        Math.ceilDiv(count, TASK),
        (task, scratch) -> {
          for (int r = task * TASK; r < Math.min(count, (task + 1) * TASK); r++) {
            compute
                .arithmetic()
                .read(
                    matrix.type(), matrix.segment(), matrix.offset(r, 0), into, r * length, length);
          }
        });
  }

  /** Writes the first rows of a matrix, if it is wanted. */
  static void write(Compute compute, @Nullable Tensor tensor, float[] rows, int count) {
    if (tensor == null) {
      return;
    }
    MatrixRows matrix = of(tensor);
    int length = matrix.length();
    compute.run(
        Math.ceilDiv(count, TASK),
        (task, scratch) -> {
          for (int r = task * TASK; r < Math.min(count, (task + 1) * TASK); r++) {
            compute
                .arithmetic()
                .write(
                    matrix.type(), rows, r * length, matrix.segment(), matrix.offset(r, 0), length);
          }
        });
  }

  /** Writes the first rows of an I32 matrix, if it is wanted. */
  static void write(@Nullable Tensor tensor, int[] rows, int count) {
    if (tensor == null) {
      return;
    }
    Elements matrix = Elements.of(tensor);
    int length = Math.toIntExact(matrix.size(1));
    for (int r = 0; r < count; r++) {
      for (int i = 0; i < length; i++) {
        matrix.set(r, i, rows[r * length + i]);
      }
    }
  }

  /** Reads the first rows of an I32 matrix, one after another. */
  static void read(Tensor tensor, int count, int[] into) {
    Elements matrix = Elements.of(tensor);
    int length = Math.toIntExact(matrix.size(1));
    for (int r = 0; r < count; r++) {
      for (int i = 0; i < length; i++) {
        into[r * length + i] = matrix.getInt(r, i);
      }
    }
  }

  /**
   * Reads a vector; null where there is none.
   *
   * @param slot which array of the scratch takes it
   */
  static float @Nullable [] vector(@Nullable Tensor tensor, TaskScratch scratch, int slot) {
    if (tensor == null) {
      return null;
    }
    float[] vector = scratch.floats(slot, Math.toIntExact(tensor.size(0)));
    Elements.of(tensor).copyRow(vector, 0);
    return vector;
  }

  /** The weight of the shared expert's gate; null where there is none. */
  static float @Nullable [] sharedGate(
      MoeDispatchSpec spec, MoeWeights weights, TaskScratch scratch, int slot) {
    Tensor tensor = weights.sharedGateWeight();
    if (tensor == null) {
      return null;
    }
    float[] gate = scratch.floats(slot, spec.hidden());
    Elements.of(tensor).copyRow(gate, 0, 0);
    return gate;
  }

  static float sigmoid(float x) {
    return (float) (1 / (1 + Math.exp(-x)));
  }
}
