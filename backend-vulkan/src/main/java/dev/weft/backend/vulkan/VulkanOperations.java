package dev.weft.backend.vulkan;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.vulkan.device.Operations;
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
final class VulkanOperations implements Operations {
  @Override
  public Support supports(ComputeTraits traits, OperationSpec<?> spec) {
    return switch (spec) {
      case CausalConv1dSpec conv -> Conv1dRecipe.supports(traits, conv);
      case MobaAttentionSpec moba -> MobaRecipe.supports(traits, moba);
      case MoeDispatchSpec moe -> MoeRecipe.supports(traits, moe);
      default -> Support.no("the Vulkan backend does not know the operation " + spec.operation());
    };
  }

  @Override
  public BackendKernel prepare(ComputeDevice device, OperationSpec<?> spec) {
    return switch (spec) {
      case CausalConv1dSpec conv -> new Conv1dRecipe(device, conv);
      case MobaAttentionSpec moba -> new MobaRecipe(device, moba);
      case MoeDispatchSpec moe -> new MoeRecipe(device, moe);
      default -> throw new IllegalArgumentException(spec + " is not supported");
    };
  }
}
