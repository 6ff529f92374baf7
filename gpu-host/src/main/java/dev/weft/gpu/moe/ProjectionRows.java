package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.MoeDispatchSpec;
import org.jspecify.annotations.Nullable;

/**
 * A first projection, its bias, or the gradient of either, wherever gates and ups lie: PROJECTION
 * of moe/backward.
 *
 * @param gate rows of gates; none where there is no gate, or none is asked for
 * @param up rows of ups
 * @param type of both
 * @param gates how many rows are gates
 */
public record ProjectionRows(WeightRows gate, WeightRows up, DataType type, int gates) {

  /** Finds gates and ups in a tensor that holds both; width is I, or Is of the shared expert. */
  static ProjectionRows of(MoeDispatchSpec spec, int width, WeightRows both, DataType type) {
    return new ProjectionRows(
        ExpertWeights.gate(spec, both, width, type.bytes()),
        ExpertWeights.up(spec, both, width, type.bytes()),
        type,
        spec.activation().isGated() ? width : 0);
  }

  /** The rows of weights. */
  public static ProjectionRows of(ExpertWeights weights) {
    return new ProjectionRows(
        weights.gate(), weights.up(), weights.type(), weights.isGated() ? weights.width() : 0);
  }

  /** The biases of weights: rows of one element. */
  public static ProjectionRows biasOf(ExpertWeights weights) {
    return new ProjectionRows(
        weights.gateBias(),
        weights.upBias(),
        weights.type(),
        weights.isGated() ? weights.width() : 0);
  }

  /** Rows of which the first ones are the router's and one more the shared expert's gate. */
  static ProjectionRows router(
      @Nullable Tensor router, @Nullable Tensor sharedGate, DataType type, int routerRows) {
    return new ProjectionRows(
        WeightRows.of(router, false), WeightRows.of(sharedGate, false), type, routerRows);
  }

  /** Elements of a gradient [experts, n], or [n]. */
  static ProjectionRows elements(Tensor gradient, int columns) {
    long stride = gradient.rank() == 2 ? TensorLayout.stride(gradient, 0) : 0;
    return new ProjectionRows(
        new WeightRows(Region.of(gradient), stride, 1),
        WeightRows.NONE,
        gradient.dataType(),
        columns);
  }

  /** Whether there is anything. */
  boolean isPresent() {
    return gate.isPresent() || up.isPresent();
  }

  /** As PROJECTION has it, and Projection of CUDA's backward.cuh. */
  public void put(Arguments arguments) {
    gate.put(arguments);
    up.put(arguments);
    arguments.value(TensorLayout.typeCode(type)).value(gates);
  }
}
