package dev.weft.backend.cuda.device;

import dev.weft.DataType;
import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/** How tensors appear in kernel arguments. */
public final class TensorArguments {
  private TensorArguments() {}

  /** The device address of a tensor's first element, 0 for none. */
  public static long address(@Nullable Tensor tensor) {
    return tensor == null ? 0 : ((CudaMemory) tensor.memory()).address() + tensor.byteOffset();
  }

  /** A stride in elements, 0 where there is but one step. */
  public static long stride(Tensor tensor, int dimension) {
    return tensor.size(dimension) > 1 ? tensor.stride(dimension) : 0;
  }

  /** As rows.cuh has it. */
  public static int typeCode(DataType type) {
    return switch (type) {
      case F32 -> 0;
      case F16 -> 1;
      case BF16 -> 2;
      default -> throw new IllegalArgumentException(type.text());
    };
  }

  /**
   * Token numbers on the device are 32 bits, as cu_seqlens is; later rows belong to no sequence.
   */
  public static int tokens(long rows) {
    return (int) Math.min(rows, Integer.MAX_VALUE);
  }

  /** Whether a tensor's start and all but its last stride are multiples of a number of bytes. */
  public static boolean isAligned(@Nullable Tensor tensor, int bytes) {
    if (tensor == null || bytes == 1) {
      return true;
    }
    if (address(tensor) % bytes != 0) {
      return false;
    }
    for (int d = 0; d + 1 < tensor.rank(); d++) {
      if (stride(tensor, d) * tensor.dataType().bytes() % bytes != 0) {
        return false;
      }
    }
    return true;
  }
}
