package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import org.jspecify.annotations.Nullable;

/**
 * Rows of elements, expert by expert where there are several: MATRIX_OF of moe/backward.
 *
 * @param place of the first element; null for none
 * @param pitch elements from a row to the next
 * @param expertStride elements from an expert to the next
 * @param type of the elements
 */
public record MatrixRows(@Nullable Region place, long pitch, long expertStride, DataType type) {
  static final MatrixRows NONE = new MatrixRows(null, 0, 0, DataType.F32);

  /** Rows of a tensor of rank 2. */
  public static MatrixRows of(@Nullable Tensor tensor) {
    return tensor == null
        ? NONE
        : new MatrixRows(Region.of(tensor), TensorLayout.stride(tensor, 0), 0, tensor.dataType());
  }

  /** Rows of a tensor that has some for each expert (rank 3), or one for each (rank 2). */
  public static MatrixRows perExpert(@Nullable Tensor tensor) {
    return tensor == null
        ? NONE
        : new MatrixRows(
            Region.of(tensor),
            tensor.rank() == 3 ? TensorLayout.stride(tensor, 1) : 0,
            TensorLayout.stride(tensor, 0),
            tensor.dataType());
  }

  /** Rows of a weight. */
  public static MatrixRows of(WeightRows rows, DataType type) {
    return new MatrixRows(rows.place(), rows.rowStride(), rows.expertStride(), type);
  }

  static MatrixRows scratch(@Nullable Region place, long pitch, DataType type) {
    return new MatrixRows(place, pitch, 0, type);
  }

  /**
   * Whether kernels for whole tiles take so many rows: each starts at a multiple of 16 bytes, and
   * their chunks of 16 bytes are counted in 32 bits.
   */
  boolean isWhole(long rows) {
    return place != null
        && place.isAligned(16)
        && pitch * type.bytes() % 16 == 0
        && rows * pitch * type.bytes() / 16 < 1L << 32;
  }

  boolean isPresent() {
    return place != null;
  }

  /** As MATRIX_OF has it, and Matrix of CUDA's backward.cuh but for its padding. */
  public void put(Arguments arguments) {
    arguments.region(place).value(pitch).value(expertStride).value(TensorLayout.typeCode(type));
  }
}
