package dev.weft.backend.cuda.device;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.spi.BackendKernel;

/** The operations that a device can prepare. */
public interface Operations {
  /** Yes, or no with a reason; pure. */
  Support supports(OperationSpec<?> spec);

  /** Finds all kernels that launches of a supported spec may need. */
  BackendKernel prepare(CudaDevice device, OperationSpec<?> spec);
}
