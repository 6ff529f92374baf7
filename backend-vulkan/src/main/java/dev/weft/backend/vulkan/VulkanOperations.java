package dev.weft.backend.vulkan;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.vulkan.device.Operations;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.conv1d.Conv1dRecipe;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendKernel;

/** What this backend computes: the recipes of the portable backends. */
final class VulkanOperations implements Operations {
  @Override
  public Support supports(ComputeTraits traits, OperationSpec<?> spec) {
    if (spec instanceof CausalConv1dSpec conv) {
      return Conv1dRecipe.supports(traits, conv);
    }
    if (spec instanceof MobaAttentionSpec || spec instanceof MoeDispatchSpec) {
      return Support.no(spec.operation() + " is not there yet in the Vulkan backend");
    }
    return Support.no("the Vulkan backend does not know the operation " + spec.operation());
  }

  @Override
  public BackendKernel prepare(ComputeDevice device, OperationSpec<?> spec) {
    if (spec instanceof CausalConv1dSpec conv) {
      return new Conv1dRecipe(device, conv);
    }
    throw new IllegalArgumentException(spec + " is not supported");
  }
}
