package dev.weft.backend.cuda.moe;

import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.gpu.moe.MoeBackwardPlan;
import dev.weft.gpu.moe.MoeBackwardStages;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.LaunchContext;

/**
 * Backward passes of a spec, by the stages of {@link MoeBackwardStages}. At most 23 launches, each
 * of which is left out where nothing asks for it, for each group of tokens, and three more for the
 * order of a group's slots where there are several.
 */
final class MoeBackwardPasses {
  private final MoeDispatchSpec spec;
  private final MoeBackwardKernels kernels;
  private final SlotSort sort;

  /** Finds the kernels that the spec's backward passes need. */
  MoeBackwardPasses(CudaDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    kernels = new MoeBackwardKernels(device, spec);
    sort = new SlotSort(device);
  }

  /** The scratch memory of a launch. */
  static long workspaceBytes(MoeDispatchSpec spec, long tokens) {
    return MoeBackwardPlan.bytes(
        spec, MoeBackwardKernels.planTiles(spec), SlotSort::blockCountBytes, tokens);
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
        MoeBackwardKernels.planTiles(spec),
        SlotSort::blockCountBytes,
        a.x().size(0),
        (plan, first) -> new MoeBackwardPass(context, spec, a, plan, first, kernels, sort));
  }
}
