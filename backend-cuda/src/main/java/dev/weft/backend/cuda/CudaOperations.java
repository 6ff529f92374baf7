package dev.weft.backend.cuda;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.cuda.conv1d.CudaConv1d;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.Operations;
import dev.weft.backend.cuda.moba.CudaMoba;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendKernel;

/** What this backend computes. */
final class CudaOperations implements Operations {
  @Override
  public Support supports(OperationSpec<?> spec) {
    return switch (spec) {
      case CausalConv1dSpec conv -> CudaConv1d.supports(conv);
      case MobaAttentionSpec moba -> CudaMoba.supports(moba);
      case MoeDispatchSpec moe ->
          Support.no("MoE dispatch is not in this version of the CUDA backend");
      default -> Support.no("the CUDA backend does not know the operation " + spec.operation());
    };
  }

  @Override
  public BackendKernel prepare(CudaDevice device, OperationSpec<?> spec) {
    if (spec instanceof CausalConv1dSpec conv) {
      return new CudaConv1d(device, conv);
    }
    if (spec instanceof MobaAttentionSpec moba) {
      return new CudaMoba(device, moba);
    }
    throw new IllegalArgumentException(spec + " is not supported");
  }
}
