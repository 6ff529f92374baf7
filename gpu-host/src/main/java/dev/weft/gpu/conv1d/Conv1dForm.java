package dev.weft.gpu.conv1d;

import dev.weft.Tensor;
import dev.weft.gpu.TensorLayout;
import org.jspecify.annotations.Nullable;

/** A compiled form of one launch, as far as it bears on which tensors it takes. */
public interface Conv1dForm {
  /** Neighbouring channels of a thread. */
  int vector();

  /** How a row's start and pitch must be aligned, in bytes; 1 where only elements must. */
  int alignment();

  /** Whether the rows of all these tensors are aligned as they must be; null is. */
  default boolean takes(@Nullable Tensor... rows) {
    boolean fits = true;
    for (Tensor tensor : rows) {
      fits &= TensorLayout.isAligned(tensor, alignment());
    }
    return fits;
  }
}
