package dev.weft.conv1d;

import dev.weft.Binding;
import dev.weft.Launch;
import dev.weft.Tensor;
import java.util.ArrayList;
import java.util.List;
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
      java.util.function.Supplier<dev.weft.spi.BackendBinding> bind) {
    super(kernel, check, tensors(weight, bias), bind);
    this.weight = weight;
    this.bias = bias;
  }

  private static List<Tensor> tensors(Tensor weight, @Nullable Tensor bias) {
    List<Tensor> tensors = new ArrayList<>(List.of(weight));
    if (bias != null) {
      tensors.add(bias);
    }
    return tensors;
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
