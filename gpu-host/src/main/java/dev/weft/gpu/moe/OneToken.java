package dev.weft.gpu.moe;

import dev.weft.Tensor;
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
 * The experts of a single token, in two dispatches: every slot is a row of its own, so nothing is
 * sorted, and the second product combines the slots; moe/token says how.
 */
final class OneToken {
  /** As moe/token has them. */
  private static final int PROJECT_WAVES = 8;

  private static final int DOWN_WAVES = 32;
  private static final int WAVE = 32;

  /** Rows of weights of a group. */
  private static final int COLUMNS = 16;

  /** The most slots of a token. */
  private static final int MOST_SLOTS = 64;

  private final MoeDispatchSpec spec;
  private final ComputeKernel project;
  private final ComputeKernel down;

  private OneToken(ComputeDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    KernelName name =
        KernelName.of("moe/token", "moe_project_token")
            .with("TYPE", TensorLayout.typeCode(spec.dataType()))
            .with("MATRIX", MatrixUnits.COOPERATIVE.code());
    List<ComputeKernel> kernels = device.kernels(List.of(name, name.function("moe_down_token")));
    project = kernels.getFirst();
    down = kernels.getLast();
  }

  /** Its kernels; null where the device or the spec is not such that they could be used. */
  static @Nullable OneToken of(ComputeDevice device, MoeDispatchSpec spec) {
    boolean takes =
        GroupTile.streamsOnCooperativeMatrices(device, spec)
            && device.traits().mostGroupSize() >= DOWN_WAVES * WAVE
            && spec.sharedIntermediate() == 0
            && spec.topK() <= MOST_SLOTS;
    return takes ? new OneToken(device, spec) : null;
  }

  /**
   * Enqueues both products.
   *
   * @param weights of the routed experts, aligned
   * @param routing of the token
   * @param x [1, H], aligned to 16 bytes
   * @param y [1, H]
   * @param tokenCount [1] I32: how many tokens are there; null for all
   * @param act [topK, I] scratch in the type of x, 16-byte aligned
   * @param actPitch of act, a multiple of 16 bytes
   */
  void enqueue(
      ComputeStream stream,
      ExpertWeights weights,
      Routing routing,
      Tensor x,
      Tensor y,
      @Nullable Region tokenCount,
      @Nullable Region act,
      long actPitch) {
    Arguments arguments =
        stream
            .arguments()
            .region(Region.of(x))
            .region(act)
            .region(routing.ids())
            .region(tokenCount);
    weights.gate().put(arguments);
    weights.up().put(arguments);
    weights.gateBias().put(arguments);
    weights.upBias().put(arguments);
    arguments
        .value(actPitch)
        .value(spec.topK())
        .value(spec.firstExpert())
        .value(spec.localExperts())
        .value(weights.hidden())
        .value(weights.width())
        .value(MoeCodes.activation(spec.activation()))
        .value(spec.swigluAlpha())
        .value(spec.swigluLimit());
    int columns = weights.isGated() ? COLUMNS / 2 : COLUMNS;
    long groups = spec.topK() * cut(weights.width(), columns);
    stream.dispatch(project, groups, 1, 1, PROJECT_WAVES * WAVE);
    arguments =
        stream
            .arguments()
            .region(act)
            .region(Region.of(y))
            .region(routing.ids())
            .region(routing.weights())
            .region(tokenCount);
    weights.down().put(arguments);
    weights.downBias().put(arguments);
    arguments
        .value(actPitch)
        .value(spec.topK())
        .value(Math.max(1, DOWN_WAVES / spec.topK())) // that share a slot
        .value(spec.firstExpert())
        .value(spec.localExperts())
        .value(weights.hidden())
        .value(weights.width());
    stream.dispatch(down, cut(weights.hidden(), COLUMNS), 1, 1, DOWN_WAVES * WAVE);
  }

  private static long cut(int columns, int group) {
    return (columns + group - 1L) / group;
  }
}
