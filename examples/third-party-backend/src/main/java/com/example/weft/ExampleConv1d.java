package com.example.weft;

import dev.weft.Limits;
import dev.weft.Tensor;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.Conv1dKernel;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/**
 * Causal convolutions. Every launch is enqueued as one piece of work, which alone looks at device
 * memory; there is nothing to compile and no scratch.
 */
final class ExampleConv1d implements Conv1dKernel {
  private final CausalConv1dSpec spec;

  ExampleConv1d(CausalConv1dSpec spec) {
    this.spec = spec;
  }

  @Override
  public long workspaceBytes(CausalConv1dSpec.Mode mode, Limits limits) {
    return 0;
  }

  @Override
  public BackendBinding bind(Tensor weight, @Nullable Tensor bias) {
    return new BackendBinding() {}; // read where they lie, so nothing to refresh or release
  }

  @Override
  public void forward(LaunchContext context, Conv1dForward a) {
    ((ExampleStream) context.stream())
        .submit("conv1d.forward", () -> new Convolution(spec, a).run());
  }

  @Override
  public void update(LaunchContext context, Conv1dUpdate a) {
    ((ExampleStream) context.stream())
        .submit("conv1d.update", () -> new Convolution(spec, a).run());
  }

  @Override
  public void backward(LaunchContext context, Conv1dBackward a) {
    ((ExampleStream) context.stream()).submit("conv1d.backward", () -> new Gradient(spec, a).run());
  }

  /** What comes before the activation, at token t of a history of W - 1 values and the tokens. */
  static double preactivation(double[] weight, double bias, double[] extended, int t) {
    double sum = bias;
    for (int k = 0; k < weight.length; k++) {
      sum += weight[k] * extended[t + k];
    }
    return sum;
  }
}
