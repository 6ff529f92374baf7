package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.moe.MoeDispatchSpec;
import org.jspecify.annotations.Nullable;

/**
 * A first projection, its bias, or the gradient of either, wherever gates and ups lie: the
 * structure Projection of backward.cuh.
 *
 * @param gate rows of gates; none where there is no gate, or none is asked for
 * @param up rows of ups
 * @param type of both
 * @param gates how many rows are gates
 */
record BackwardProjection(WeightRows gate, WeightRows up, DataType type, int gates) {

  /** Finds gates and ups in a tensor that holds both; width is I, or Is of the shared expert. */
  static BackwardProjection of(MoeDispatchSpec spec, int width, WeightRows both, DataType type) {
    return new BackwardProjection(
        ExpertWeights.gate(spec, both, width, type.bytes()),
        ExpertWeights.up(spec, both, width, type.bytes()),
        type,
        spec.activation().isGated() ? width : 0);
  }

  /** The rows of weights. */
  static BackwardProjection of(ExpertWeights weights) {
    return new BackwardProjection(
        weights.gate(), weights.up(), weights.type(), weights.isGated() ? weights.width() : 0);
  }

  /** The biases of weights: rows of one element. */
  static BackwardProjection biasOf(ExpertWeights weights) {
    return new BackwardProjection(
        weights.gateBias(),
        weights.upBias(),
        weights.type(),
        weights.isGated() ? weights.width() : 0);
  }

  /** Rows of which the first ones are the router's and one more the shared expert's gate. */
  static BackwardProjection router(
      @Nullable Tensor router, @Nullable Tensor sharedGate, DataType type, int routerRows) {
    return new BackwardProjection(
        WeightRows.of(router, false), WeightRows.of(sharedGate, false), type, routerRows);
  }

  /** Whether there is anything. */
  boolean isPresent() {
    return gate.address() != 0 || up.address() != 0;
  }

  void put(ParameterBlock block) {
    gate.put(block);
    up.put(block);
    block.put(TensorArguments.typeCode(type)).put(gates);
  }
}
