package dev.weft.backend.cuda;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.cuda.conv1d.CudaConv1d;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.Operations;
import dev.weft.backend.cuda.moba.CudaMoba;
import dev.weft.backend.cuda.moe.CudaMoe;
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
      case MoeDispatchSpec moe -> CudaMoe.supports(moe);
      default -> Support.no("the CUDA backend does not know the operation " + spec.operation());
    };
  }

  @Override
  public BackendKernel prepare(CudaDevice device, OperationSpec<?> spec) {
    return switch (spec) {
      case CausalConv1dSpec conv -> new CudaConv1d(device, conv);
      case MobaAttentionSpec moba -> new CudaMoba(device, moba);
      case MoeDispatchSpec moe -> new CudaMoe(device, moe);
      default -> throw new IllegalArgumentException(spec + " is not supported");
    };
  }
}
