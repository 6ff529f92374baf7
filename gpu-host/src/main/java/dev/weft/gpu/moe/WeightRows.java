package dev.weft.gpu.moe;

import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import org.jspecify.annotations.Nullable;

/**
 * Rows of a weight, or elements of a bias, expert by expert: row i of expert e starts at element e
 * * expertStride + i * rowStride.
 *
 * @param place of the first; null where there is no such weight
 * @param expertStride elements from an expert to the next
 * @param rowStride elements from a row to the next
 */
public record WeightRows(@Nullable Region place, long expertStride, long rowStride) {
  /** No such weight. */
  public static final WeightRows NONE = new WeightRows(null, 0, 0);

  /**
   * The rows of a tensor: the last dimension is a row's, the one before counts rows, and one before
   * that, if any, experts.
   */
  static WeightRows of(@Nullable Tensor tensor, boolean perExpert) {
    if (tensor == null) {
      return NONE;
    }
    return new WeightRows(
        Region.of(tensor),
        perExpert ? TensorLayout.stride(tensor, 0) : 0,
        TensorLayout.stride(tensor, perExpert ? 1 : 0));
  }

  /** The elements of a bias [experts, n]. */
  static WeightRows ofBias(@Nullable Tensor tensor) {
    return tensor == null
        ? NONE
        : new WeightRows(Region.of(tensor), TensorLayout.stride(tensor, 0), 1);
  }

  /** Every so many rows from a first one on. */
  WeightRows every(int step, long first, int elementBytes) {
    return place == null
        ? NONE
        : new WeightRows(
            place.plus(first * rowStride * elementBytes), expertStride, step * rowStride);
  }

  /** Whether every row starts at a multiple of 16 bytes. */
  boolean isAligned(int elementBytes) {
    return place == null
        || (place.isAligned(16)
            && expertStride * elementBytes % 16 == 0
            && rowStride * elementBytes % 16 == 0);
  }

  /** Whether there is such a weight. */
  public boolean isPresent() {
    return place != null;
  }

  /** As WEIGHTS of the portable kernels has it, and WeightRows of CUDA's experts.cuh. */
  public void put(Arguments arguments) {
    arguments.region(place).value(expertStride).value(rowStride);
  }
}
