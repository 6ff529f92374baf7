package dev.weft.gpu.moe;

import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeWeights;
import dev.weft.spi.BackendBinding;
import org.jspecify.annotations.Nullable;

/** Weights where they lie: kernels take any layout, so nothing is copied. */
public final class BoundWeights implements BackendBinding {
  private final MoeWeights tensors;
  private final ExpertWeights routed;
  private final @Nullable ExpertWeights shared;

  /** Finds where they lie. */
  public BoundWeights(MoeDispatchSpec spec, MoeWeights tensors) {
    this.tensors = tensors;
    routed = ExpertWeights.routed(spec, tensors);
    shared = ExpertWeights.shared(spec, tensors);
  }

  /** The caller's tensors. */
  public MoeWeights tensors() {
    return tensors;
  }

  /** The routed experts of the local range. */
  public ExpertWeights routed() {
    return routed;
  }

  /** The shared expert; null where the spec has none. */
  public @Nullable ExpertWeights shared() {
    return shared;
  }
}
