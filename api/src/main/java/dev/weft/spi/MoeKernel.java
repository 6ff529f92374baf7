package dev.weft.spi;

import dev.weft.Limits;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;

/** Mixture-of-experts dispatch, compiled for a {@link MoeDispatchSpec}. */
public interface MoeKernel extends BackendKernel {
  /**
   * Returns the scratch memory that a launch needs. Pure.
   *
   * @param mode which launch
   * @param limits the launch's sizes; larger limits never need less
   * @return bytes, at most the spec's {@code workspaceLimit} unless a single group needs more
   */
  long workspaceBytes(MoeDispatchSpec.Mode mode, Limits limits);

  /**
   * Prepares weights for launches. The tensors outlive the binding. The api calls {@link
   * BackendBinding#refresh} next.
   *
   * @param weights the weights, fitting the spec
   * @return the binding, which launches find in their arguments
   */
  BackendBinding bind(MoeWeights weights);

  /**
   * Enqueues routing, experts and combination.
   *
   * @param context stream and scratch
   * @param arguments the binding and the tensors
   */
  void forward(LaunchContext context, MoeForward arguments);

  /**
   * Enqueues a backward pass; called only if the spec has {@link MoeDispatchSpec.Mode#BACKWARD}.
   *
   * @param context stream and scratch
   * @param arguments the binding and the tensors
   */
  default void backward(LaunchContext context, MoeBackward arguments) {
    throw new UnsupportedOperationException("backward");
  }
}
