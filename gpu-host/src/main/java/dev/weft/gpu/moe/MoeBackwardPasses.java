package dev.weft.gpu.moe;

import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeTraits;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.LaunchContext;

/**
 * Backward passes of a spec, by the stages of {@link MoeBackwardStages}. At most 24 dispatches for
 * a group of tokens, each of which is left out where nothing asks for it, and six more for the
 * order of its slots where there are several groups.
 */
final class MoeBackwardPasses {
  private final MoeDispatchSpec spec;
  private final MoeBackwardKernels kernels;
  private final RoutingPass routing;
  private final SlotSort sort;

  /** Compiles the kernels that the spec's backward passes need. */
  MoeBackwardPasses(
      ComputeDevice device, MoeDispatchSpec spec, RoutingPass routing, SlotSort sort) {
    this.spec = spec;
    this.routing = routing;
    this.sort = sort;
    kernels = new MoeBackwardKernels(device, spec);
  }

  /** The scratch memory of a launch. */
  static long workspaceBytes(ComputeTraits traits, MoeDispatchSpec spec, long tokens) {
    return MoeBackwardPlan.bytes(
        spec, MoeBackwardKernels.tiles(traits, spec), MoeRecipe.STAGES, tokens);
  }

  /**
   * Enqueues a pass.
   *
   * @param context stream and scratch
   * @param a the tensors, the weights as they were bound among them
   */
  void run(LaunchContext context, MoeBackward a) {
    MoeBackwardStages.run(
        spec,
        kernels.planTiles,
        MoeRecipe.STAGES,
        a.x().size(0),
        (plan, first) ->
            new MoeBackwardPass(context, spec, a, plan, first, kernels, routing, sort));
  }
}
