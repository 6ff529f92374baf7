package dev.weft.conv1d;

import dev.weft.Binding;
import dev.weft.Launch;
import dev.weft.Tensor;
import dev.weft.spi.BackendBinding;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** A weight and bias bound to a {@link CausalConv1d}; made by {@link CausalConv1d#bind}. */
public final class Conv1dBinding extends Binding {
  private final Tensor weight;
  private final @Nullable Tensor bias;

  Conv1dBinding(
      CausalConv1d kernel,
      Launch check,
      Tensor weight,
      @Nullable Tensor bias,
      Supplier<BackendBinding> bind) {
    super(kernel, check, bind);
    this.weight = weight;
    this.bias = bias;
  }

  /**
   * Returns the weight.
   *
   * @return [C, W]; the last column multiplies the current token
   */
  public Tensor weight() {
    return weight;
  }

  /**
   * Returns the bias.
   *
   * @return [C], or null if the spec has none
   */
  public @Nullable Tensor bias() {
    return bias;
  }
}
