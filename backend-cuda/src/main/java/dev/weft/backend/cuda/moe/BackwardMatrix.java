package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import org.jspecify.annotations.Nullable;

/**
 * Rows of elements, expert by expert where there are several: the structure Matrix of backward.cuh.
 *
 * @param address of the first element; 0 for none
 * @param pitch elements from a row to the next
 * @param expertStride elements from an expert to the next
 * @param type of the elements
 */
record BackwardMatrix(long address, long pitch, long expertStride, DataType type) {
  static final BackwardMatrix NONE = new BackwardMatrix(0, 0, 0, DataType.F32);

  /** Rows of a tensor of rank 2. */
  static BackwardMatrix of(@Nullable Tensor tensor) {
    return tensor == null
        ? NONE
        : scratch(
            TensorArguments.address(tensor), TensorArguments.stride(tensor, 0), tensor.dataType());
  }

  /** Rows of a tensor that has some for each expert (rank 3), or one for each (rank 2). */
  static BackwardMatrix perExpert(@Nullable Tensor tensor) {
    return tensor == null
        ? NONE
        : new BackwardMatrix(
            TensorArguments.address(tensor),
            tensor.rank() == 3 ? TensorArguments.stride(tensor, 1) : 0,
            TensorArguments.stride(tensor, 0),
            tensor.dataType());
  }

  /** Rows of a weight. */
  static BackwardMatrix of(WeightRows rows, DataType type) {
    return new BackwardMatrix(rows.address(), rows.rowStride(), rows.expertStride(), type);
  }

  static BackwardMatrix scratch(long address, long pitch, DataType type) {
    return new BackwardMatrix(address, pitch, 0, type);
  }

  void put(ParameterBlock block) {
    block.put(address).put(pitch).put(expertStride).put(TensorArguments.typeCode(type)).put(0);
  }
}
