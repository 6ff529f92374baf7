package dev.weft.backend.cuda.device;

import dev.weft.Tensor;
import dev.weft.gpu.Region;
import org.jspecify.annotations.Nullable;

/** Where tensors lie, as kernels get it. */
public final class TensorArguments {
  private TensorArguments() {}

  /** The device address of a tensor's first element, 0 for none. */
  public static long address(@Nullable Tensor tensor) {
    return address(Region.ofNullable(tensor));
  }

  /** The device address of a place, 0 for none. */
  public static long address(@Nullable Region region) {
    return region == null ? 0 : ((CudaMemory) region.memory()).address() + region.offset();
  }
}
