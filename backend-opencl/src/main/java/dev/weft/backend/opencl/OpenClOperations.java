package dev.weft.backend.opencl;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.opencl.device.Operations;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.conv1d.Conv1dRecipe;
import dev.weft.gpu.moba.MobaRecipe;
import dev.weft.gpu.moe.MoeRecipe;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendKernel;

/** What this backend computes: the recipes of the portable backends. */
final class OpenClOperations implements Operations {
  @Override
  public Support supports(ComputeTraits traits, OperationSpec<?> spec) {
    if (spec instanceof CausalConv1dSpec conv) {
      return Conv1dRecipe.supports(traits, conv);
    }
    if (spec instanceof MoeDispatchSpec moe) {
      return MoeRecipe.supports(traits, moe);
    }
    if (spec instanceof MobaAttentionSpec moba) {
      return MobaRecipe.supports(traits, moba);
    }
    return Support.no("the OpenCL backend does not know the operation " + spec.operation());
  }

  @Override
  public BackendKernel prepare(ComputeDevice device, OperationSpec<?> spec) {
    if (spec instanceof CausalConv1dSpec conv) {
      return new Conv1dRecipe(device, conv);
    }
    if (spec instanceof MoeDispatchSpec moe) {
      return new MoeRecipe(device, moe);
    }
    if (spec instanceof MobaAttentionSpec moba) {
      return new MobaRecipe(device, moba);
    }
    throw new IllegalArgumentException(spec + " is not supported");
  }
}
