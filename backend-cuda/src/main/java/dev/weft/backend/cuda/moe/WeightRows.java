package dev.weft.backend.cuda.moe;

import dev.weft.Tensor;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import org.jspecify.annotations.Nullable;

/**
 * Rows of a weight, or elements of a bias, expert by expert: row i of expert e starts at element e
 * * expertStride + i * rowStride.
 *
 * @param address of the first; 0 where there is no such weight
 * @param expertStride elements from an expert to the next
 * @param rowStride elements from a row to the next
 */
record WeightRows(long address, long expertStride, long rowStride) {
  static final WeightRows NONE = new WeightRows(0, 0, 0);

  /**
   * The rows of a tensor: the last dimension is a row's, the one before counts rows, and one before
   * that, if any, experts.
   */
  static WeightRows of(@Nullable Tensor tensor, boolean perExpert) {
    if (tensor == null) {
      return NONE;
    }
    int rows = perExpert ? 1 : 0;
    return new WeightRows(
        TensorArguments.address(tensor),
        perExpert ? TensorArguments.stride(tensor, 0) : 0,
        TensorArguments.stride(tensor, rows));
  }

  /** Every so many rows from a first one on. */
  WeightRows every(int step, long first, int elementBytes) {
    return address == 0
        ? NONE
        : new WeightRows(
            address + first * rowStride * elementBytes, expertStride, step * rowStride);
  }

  /** Whether every row starts at a multiple of a number of bytes. */
  boolean isAligned(int bytes, int elementBytes) {
    return address % bytes == 0
        && expertStride * elementBytes % bytes == 0
        && rowStride * elementBytes % bytes == 0;
  }

  void put(ParameterBlock block) {
    block.put(address).put(expertStride).put(rowStride);
  }
}
