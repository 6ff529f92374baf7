package dev.weft.backend.cuda.conv1d;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaMemory;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import org.jspecify.annotations.Nullable;

/** How tensors appear in kernel arguments. */
final class Arguments {
  private Arguments() {}

  static long address(@Nullable Tensor tensor) {
    return tensor == null ? 0 : ((CudaMemory) tensor.memory()).address() + tensor.byteOffset();
  }

  /** A stride in elements, 0 where there is but one step. */
  static long stride(Tensor tensor, int dimension) {
    return tensor.size(dimension) > 1 ? tensor.stride(dimension) : 0;
  }

  /** As rows.cuh has it. */
  static int typeCode(DataType type) {
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
  static int tokens(long rows) {
    return (int) Math.min(rows, Integer.MAX_VALUE);
  }

  /** Whether a tensor's start and all but its last stride are multiples of a number of bytes. */
  static boolean isAligned(@Nullable Tensor tensor, int bytes) {
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

  /** The States structure: base and strides of slot, channel and column. */
  static void putStates(ParameterBlock block, @Nullable Tensor states) {
    block.put(address(states));
    for (int d = 0; d < 3; d++) {
      block.put(states == null ? 0L : stride(states, d));
    }
  }

  /**
   * How a kernel of a vector width may reach the columns of [slots, C, S], as states.cuh has it.
   */
  static int stateMode(@Nullable Tensor states, Conv1dVariant variant) {
    int scattered = 0;
    int rows = 1;
    int packed = 2;
    if (states == null || variant.vector() == 1) {
      return scattered;
    }
    int bytes = states.dataType().bytes();
    int alignment = variant.alignment();
    long history = variant.width() - 1L;
    boolean slotsAligned =
        address(states) % alignment == 0 && stride(states, 0) * bytes % alignment == 0;
    if (slotsAligned && stride(states, 1) == 1 && stride(states, 2) * bytes % alignment == 0) {
      return rows;
    }
    if (slotsAligned
        && states.size(2) == history
        && stride(states, 1) == history
        && (history == 1 || stride(states, 2) == 1)) {
      return packed;
    }
    return scattered;
  }
}
