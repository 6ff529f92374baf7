package dev.weft.spi;

import dev.weft.Limits;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;

/**
 * MoBA block-sparse attention, compiled for a {@link MobaAttentionSpec}. A launch is called only if
 * the spec has its {@linkplain MobaAttentionSpec.Mode mode}.
 */
public interface MobaKernel extends BackendKernel {
  /**
   * Returns the scratch memory that a launch needs. Pure.
   *
   * @param mode which launch; {@link MobaAttentionSpec.Mode#PAGED} covers append too
   * @param limits the launch's sizes; larger limits never need less
   * @return bytes, at most the spec's {@code workspaceLimit} unless a single group needs more
   */
  long workspaceBytes(MobaAttentionSpec.Mode mode, Limits limits);

  /**
   * Enqueues a forward pass.
   *
   * @param context stream and scratch
   * @param arguments the tensors
   */
  void forward(LaunchContext context, MobaForward arguments);

  /**
   * Enqueues a backward pass.
   *
   * @param context stream and scratch
   * @param arguments the tensors
   */
  default void backward(LaunchContext context, MobaBackward arguments) {
    throw new UnsupportedOperationException("backward");
  }

  /**
   * Enqueues the storing of new keys and values in the paged cache.
   *
   * @param context stream and scratch
   * @param arguments the tensors
   */
  default void append(LaunchContext context, MobaAppend arguments) {
    throw new UnsupportedOperationException("append");
  }

  /**
   * Enqueues attention over the paged cache.
   *
   * @param context stream and scratch
   * @param arguments the tensors
   */
  default void paged(LaunchContext context, MobaPaged arguments) {
    throw new UnsupportedOperationException("paged");
  }
}
