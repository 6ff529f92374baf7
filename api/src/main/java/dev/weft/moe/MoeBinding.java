package dev.weft.moe;

import dev.weft.Binding;
import dev.weft.Launch;
import dev.weft.spi.BackendBinding;
import java.util.function.Supplier;

/** Weights bound to a {@link MoeDispatch}; made by {@link MoeDispatch#bind}. */
public final class MoeBinding extends Binding {
  private final MoeWeights weights;

  MoeBinding(MoeDispatch kernel, Launch check, MoeWeights weights, Supplier<BackendBinding> bind) {
    super(kernel, check, bind);
    this.weights = weights;
  }

  /**
   * Returns the weights.
   *
   * @return the caller's tensors
   */
  public MoeWeights weights() {
    return weights;
  }
}
