package dev.weft.spi;

import dev.weft.Limits;
import dev.weft.Tensor;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import org.jspecify.annotations.Nullable;

/**
 * Causal depthwise convolution, compiled for a {@link CausalConv1dSpec}. A launch is called only if
 * the spec has its {@linkplain CausalConv1dSpec.Mode mode}.
 */
public interface Conv1dKernel extends BackendKernel {
  /**
   * Returns the scratch memory that a launch needs. Pure.
   *
   * @param mode which launch
   * @param limits the launch's sizes; larger limits never need less
   * @return bytes, at most the spec's {@code workspaceLimit} unless a single group needs more
   */
  long workspaceBytes(CausalConv1dSpec.Mode mode, Limits limits);

  /**
   * Prepares weights for launches. The tensors outlive the binding. The api calls {@link
   * BackendBinding#refresh} next.
   *
   * @param weight [C, W]
   * @param bias [C], null iff the spec has no bias
   * @return the binding, which launches find in their arguments
   */
  BackendBinding bind(Tensor weight, @Nullable Tensor bias);

  /**
   * Enqueues a convolution of packed sequences.
   *
   * @param context stream and scratch
   * @param arguments the binding and the tensors
   */
  default void forward(LaunchContext context, Conv1dForward arguments) {
    throw new UnsupportedOperationException("forward");
  }

  /**
   * Enqueues a decoding step.
   *
   * @param context stream and scratch
   * @param arguments the binding and the tensors
   */
  default void update(LaunchContext context, Conv1dUpdate arguments) {
    throw new UnsupportedOperationException("update");
  }

  /**
   * Enqueues a backward pass.
   *
   * @param context stream and scratch
   * @param arguments the binding and the tensors
   */
  default void backward(LaunchContext context, Conv1dBackward arguments) {
    throw new UnsupportedOperationException("backward");
  }
}
