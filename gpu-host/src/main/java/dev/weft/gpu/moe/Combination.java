package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.MoeDispatchSpec;
import org.jspecify.annotations.Nullable;

/** y: each token's slots in slot order, weighed, and the shared expert's part; moe/combine. */
final class Combination {
  private static final int GROUP = 128;
  private static final int COLUMNS_OF_GROUP = 4 * GROUP;

  private final MoeDispatchSpec spec;
  private final ComputeKernel combine;

  Combination(ComputeDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    combine = device.kernel(KernelName.of("moe/combine", "moe_combine"));
  }

  /**
   * Enqueues it for the tokens of a run of experts.
   *
   * @param y all tokens' outputs
   * @param routing of the run's tokens
   * @param work the run
   * @param shared that of the shared expert, or null
   * @param sharedLogits [tokens] of the run, or null where the shared expert is not gated
   */
  void enqueue(
      ComputeStream stream,
      Tensor y,
      Routing routing,
      ExpertWork work,
      @Nullable ExpertWork shared,
      @Nullable Region sharedLogits) {
    DataType type = spec.dataType();
    long yPitch = TensorLayout.stride(y, 0);
    stream
        .arguments()
        .region(work.out())
        .region(shared == null ? null : shared.out())
        .region(sharedLogits)
        .region(Region.of(y).plus(work.firstToken() * yPitch * type.bytes()))
        .region(routing.ids())
        .region(routing.weights())
        .region(work.tokenCount())
        .value(work.outPitch())
        .value(work.slots() * work.outPitch())
        .value(shared == null ? 0L : shared.slots() * shared.outPitch())
        .value(yPitch)
        .value(routing.idPitch())
        .value(routing.weightPitch())
        .value(work.parts())
        .value(TensorLayout.typeCode(work.outType(type)))
        .value(shared == null ? 1 : shared.parts())
        .value(TensorLayout.typeCode(shared == null ? type : shared.outType(type)))
        .value(work.firstToken())
        .value(work.tokens())
        .value(spec.topK())
        .value(spec.hidden())
        .value(spec.firstExpert())
        .value(spec.localExperts())
        .value(TensorLayout.typeCode(type));
    long columnGroups = (spec.hidden() + COLUMNS_OF_GROUP - 1L) / COLUMNS_OF_GROUP;
    stream.dispatch(combine, work.tokens() * columnGroups, 1, 1, GROUP);
  }
}
