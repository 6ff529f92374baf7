package dev.weft.gpu;

import dev.weft.spi.BackendDevice;
import java.util.List;

/** A device that runs compute kernels, as recipes see it. */
public interface ComputeDevice extends BackendDevice {
  /**
   * Compiles a kernel, or takes it from what was compiled before. Called by {@code prepare} only.
   *
   * @throws dev.weft.DeviceException if the driver's compiler refuses it; the message holds the
   *     head of its log
   */
  default ComputeKernel kernel(KernelName name) {
    return kernels(List.of(name)).getFirst();
  }

  /**
   * Compiles several kernels, those of different programs side by side where the driver can.
   *
   * @return in the order of the names
   */
  List<ComputeKernel> kernels(List<KernelName> names);

  /**
   * Whether the backend has a kernel at all; asked for those that recipes know how to do without.
   */
  default boolean has(KernelName name) {
    return true;
  }

  /** What the device can do. */
  ComputeTraits traits();

  /**
   * Whether the elements of its matrix units' operands lie as mma.sync of NVIDIA has them, as far
   * as the driver does not promise it and the device showed it when it was opened ({@code
   * matrix/layout}): kernels that keep rows of a product in registers count on it.
   */
  default boolean hasRowsInQuads() {
    return false;
  }
}
