package dev.weft.gpu.conv1d;

import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import org.jspecify.annotations.Nullable;

/** How conv states appear in kernel arguments, and the ways in which kernels reach them. */
final class Conv1dStates {
  /** Element by element: any strides. */
  static final int SCATTERED = 0;

  /** Channels are neighbours and aligned: a column is one access. */
  static final int ROWS = 1;

  /** [C, W-1] without gaps, aligned: a thread's elements are neighbours. */
  static final int PACKED = 2;

  private Conv1dStates() {}

  /** The place, strides of slot, channel and column, and the way to reach them. */
  static void put(Arguments arguments, @Nullable Tensor states, int width, Conv1dForm form) {
    arguments.region(Region.ofNullable(states));
    for (int d = 0; d < 3; d++) {
      arguments.value(states == null ? 0L : TensorLayout.stride(states, d));
    }
    arguments.value(mode(states, width, form));
  }

  /** The way in which a kernel of a form reaches states. */
  static int mode(@Nullable Tensor states, int width, Conv1dForm form) {
    if (states == null || form.vector() == 1) {
      return SCATTERED;
    }
    int bytes = states.dataType().bytes();
    int alignment = form.alignment();
    long history = width - 1L;
    boolean slotsAligned =
        Region.of(states).isAligned(alignment)
            && TensorLayout.stride(states, 0) * bytes % alignment == 0;
    if (slotsAligned
        && TensorLayout.stride(states, 1) == 1
        && TensorLayout.stride(states, 2) * bytes % alignment == 0) {
      return ROWS;
    }
    if (slotsAligned
        && states.size(2) == history
        && TensorLayout.stride(states, 1) == history
        && (history == 1 || TensorLayout.stride(states, 2) == 1)) {
      return PACKED;
    }
    return SCATTERED;
  }
}
