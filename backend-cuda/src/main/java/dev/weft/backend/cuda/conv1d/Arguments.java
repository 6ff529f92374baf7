package dev.weft.backend.cuda.conv1d;

import dev.weft.Tensor;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.TensorLayout;
import org.jspecify.annotations.Nullable;

/** How conv states appear in kernel arguments. */
final class Arguments {
  private Arguments() {}

  /** The States structure: base and strides of slot, channel and column. */
  static void putStates(ParameterBlock block, @Nullable Tensor states) {
    block.put(TensorArguments.address(states));
    for (int d = 0; d < 3; d++) {
      block.put(states == null ? 0L : TensorLayout.stride(states, d));
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
        TensorArguments.address(states) % alignment == 0
            && TensorLayout.stride(states, 0) * bytes % alignment == 0;
    if (slotsAligned
        && TensorLayout.stride(states, 1) == 1
        && TensorLayout.stride(states, 2) * bytes % alignment == 0) {
      return rows;
    }
    if (slotsAligned
        && states.size(2) == history
        && TensorLayout.stride(states, 1) == history
        && (history == 1 || TensorLayout.stride(states, 2) == 1)) {
      return packed;
    }
    return scattered;
  }
}
