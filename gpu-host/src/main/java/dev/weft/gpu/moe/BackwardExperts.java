package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import org.jspecify.annotations.Nullable;

/**
 * All of the routed experts, or the shared one, in a backward pass: where their lists, weights and
 * gradients lie.
 *
 * @param lists who their slots are
 * @param weights as they were bound
 * @param projected columns of z
 * @param projectionGradient of the first projection, if it was asked for
 * @param downGradient of the second, if it was asked for
 * @param biasGradient of the first one's bias, if it was asked for
 * @param savedZ what forward kept; null where it is computed again
 * @param weightSums offset of each slot's sums for the gradient of its weight
 * @param slotDx offset of a row of dx for each slot
 */
public record BackwardExperts(
    MoeBackwardPlan.Lists lists,
    ExpertWeights weights,
    int projected,
    ProjectionRows projectionGradient,
    MatrixRows downGradient,
    @Nullable ProjectionRows biasGradient,
    @Nullable Tensor savedZ,
    long weightSums,
    long slotDx) {

  static BackwardExperts routed(
      MoeDispatchSpec spec, MoeBackwardPlan plan, MoeBackward a, ExpertWeights weights) {
    DataType gradient = spec.gradientType();
    int width = spec.intermediate();
    boolean separate = spec.gateUpLayout() == GateUpLayout.SEPARATE;
    Tensor bias = a.dgateUpBias();
    return new BackwardExperts(
        plan.routed,
        weights,
        spec.projected(),
        separate
            ? new ProjectionRows(
                WeightRows.of(a.dgate(), true), WeightRows.of(a.dup(), true), gradient, width)
            : ProjectionRows.of(spec, width, WeightRows.of(a.dgateUp(), true), gradient),
        MatrixRows.perExpert(a.ddown()),
        bias == null ? null : ProjectionRows.of(spec, width, WeightRows.ofBias(bias), gradient),
        a.saved().z(),
        plan.weightSums,
        plan.zOrDx);
  }

  static BackwardExperts shared(
      MoeDispatchSpec spec, MoeBackwardPlan plan, MoeBackward a, ExpertWeights weights) {
    return new BackwardExperts(
        plan.shared,
        weights,
        spec.sharedProjected(),
        ProjectionRows.of(
            spec,
            spec.sharedIntermediate(),
            WeightRows.of(a.dsharedGateUp(), false),
            spec.gradientType()),
        MatrixRows.of(a.dsharedDown()),
        null,
        null,
        plan.sharedSums,
        plan.sharedDx);
  }

  /** How many. */
  public int count() {
    return weights.experts();
  }

  /** Their intermediate width. */
  public int width() {
    return weights.width();
  }

  /** Slots of an expert, on average. */
  public long slotsPerExpert() {
    return lists.rows / Math.max(1, Math.min(lists.rows, weights.experts()));
  }
}
