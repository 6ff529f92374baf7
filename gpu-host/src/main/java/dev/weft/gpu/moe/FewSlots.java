package dev.weft.gpu.moe;

import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.MoeDispatchSpec;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The two products of the experts of few slots that nobody has sorted: each group looks for its
 * rows itself, so there is no sort to wait for; moe/slots says how.
 */
final class FewSlots {
  /** As moe/slots has it. */
  private static final int MOST_SLOTS = 64;

  private final MoeDispatchSpec spec;
  private final ComputeKernel project;
  private final ComputeKernel down;

  private FewSlots(ComputeDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    KernelName name =
        KernelName.of("moe/slots", "moe_project_slots")
            .with("TYPE", TensorLayout.typeCode(spec.dataType()))
            .with("MATRIX", MatrixUnits.COOPERATIVE.code());
    List<ComputeKernel> kernels = device.kernels(List.of(name, name.function("moe_down_slots")));
    project = kernels.getFirst();
    down = kernels.getLast();
  }

  /** Its kernels; null where the device or the spec is not such that they could be used. */
  static @Nullable FewSlots of(ComputeDevice device, MoeDispatchSpec spec) {
    return GroupTile.streamsOnCooperativeMatrices(device, spec) ? new FewSlots(device, spec) : null;
  }

  /** Whether there are few enough for the kernels that stream weights, and for these. */
  static boolean takes(long slots, int experts, boolean aligned) {
    return slots <= MOST_SLOTS && Experts.areFew(slots, experts) && aligned;
  }

  /** Enqueues both products for all tokens of a call; the rows of act are slots as well. */
  void enqueue(ComputeStream stream, ExpertWork work, Routing routing) {
    ExpertWeights weights = work.weights();
    Arguments arguments = start(stream, work.x(), work.act(), routing, work);
    weights.gate().put(arguments);
    weights.up().put(arguments);
    weights.gateBias().put(arguments);
    weights.upBias().put(arguments);
    arguments.value(routing.idPitch()).value(work.xPitch()).value(work.actPitch());
    sizes(arguments, work)
        .value(MoeCodes.activation(spec.activation()))
        .value(spec.swigluAlpha())
        .value(spec.swigluLimit());
    int columns = weights.isGated() ? Experts.FEW_COLUMNS / 2 : Experts.FEW_COLUMNS;
    dispatch(stream, project, work, weights.width(), columns);

    arguments = start(stream, work.act(), work.out(), routing, work);
    weights.down().put(arguments);
    weights.downBias().put(arguments);
    arguments.value(routing.idPitch()).value(work.actPitch()).value(work.outPitch());
    sizes(arguments, work);
    dispatch(stream, down, work, weights.hidden(), Experts.FEW_COLUMNS);
  }

  private static Arguments start(
      ComputeStream stream,
      @Nullable Region from,
      @Nullable Region to,
      Routing routing,
      ExpertWork work) {
    return stream
        .arguments()
        .region(from)
        .region(to)
        .region(routing.ids())
        .region(work.tokenCount());
  }

  private Arguments sizes(Arguments arguments, ExpertWork work) {
    return arguments
        .value(work.tokens())
        .value(work.topK())
        .value(spec.firstExpert())
        .value(spec.localExperts())
        .value(work.weights().hidden())
        .value(work.weights().width());
  }

  private static void dispatch(
      ComputeStream stream, ComputeKernel kernel, ExpertWork work, int columns, int ofGroup) {
    long groups = work.slots() * ((columns + ofGroup - 1L) / ofGroup);
    stream.dispatch(kernel, groups, 1, 1, Experts.FEW_GROUP);
  }
}
