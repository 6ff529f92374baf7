package dev.weft.gpu;

import dev.weft.DataType;
import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/** How tensors appear in the arguments of portable kernels. */
public final class TensorLayout {
  private TensorLayout() {}

  /** A stride in elements, 0 where there is but one step. */
  public static long stride(Tensor tensor, int dimension) {
    return tensor.size(dimension) > 1 ? tensor.stride(dimension) : 0;
  }

  /** A storage type as kernels know it: 0 F32, 1 F16, 2 BF16. */
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

  /**
   * Whether a tensor's start and all but its last stride are multiples of a number of bytes.
   *
   * @param tensor null is aligned
   * @param bytes a power of two, at most 256
   */
  public static boolean isAligned(@Nullable Tensor tensor, int bytes) {
    if (tensor == null) {
      return true;
    }
    if (!Region.of(tensor).isAligned(bytes)) {
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
