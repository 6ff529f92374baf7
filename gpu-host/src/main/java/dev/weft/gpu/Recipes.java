package dev.weft.gpu;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.gpu.conv1d.Conv1dRecipe;
import dev.weft.gpu.moba.MobaRecipe;
import dev.weft.gpu.moe.MoeRecipe;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendKernel;

/** What the portable backends compute: a recipe for each operation. */
public final class Recipes {
  private Recipes() {}

  /**
   * Whether a device can run an operation; pure.
   *
   * @return yes, or no with a reason
   */
  public static Support supports(ComputeTraits traits, OperationSpec<?> spec) {
    return switch (spec) {
      case CausalConv1dSpec conv -> Conv1dRecipe.supports(traits, conv);
      case MobaAttentionSpec moba -> MobaRecipe.supports(traits, moba);
      case MoeDispatchSpec moe -> MoeRecipe.supports(traits, moe);
      default -> Support.no("the portable backends do not know the operation " + spec.operation());
    };
  }

  /**
   * Compiles all kernels that launches may need.
   *
   * @param device where they will run
   * @param spec what {@link #supports} says yes to
   */
  public static BackendKernel prepare(ComputeDevice device, OperationSpec<?> spec) {
    return switch (spec) {
      case CausalConv1dSpec conv -> new Conv1dRecipe(device, conv);
      case MobaAttentionSpec moba -> new MobaRecipe(device, moba);
      case MoeDispatchSpec moe -> new MoeRecipe(device, moe);
      default -> throw new IllegalArgumentException(spec + " is not supported");
    };
  }
}
