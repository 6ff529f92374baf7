package dev.weft.backend.vulkan.device;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeTraits;
import dev.weft.spi.BackendKernel;

/** The operations that a device can prepare. */
public interface Operations {
  /** Yes, or no with a reason; pure. */
  Support supports(ComputeTraits traits, OperationSpec<?> spec);

  /** Compiles all kernels that launches of a supported spec may need. */
  BackendKernel prepare(ComputeDevice device, OperationSpec<?> spec);
}
