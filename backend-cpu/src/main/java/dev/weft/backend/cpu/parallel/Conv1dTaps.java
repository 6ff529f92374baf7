package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBinding;
import java.util.Arrays;

/**
 * The weight with a row of channels for each tap, and behind them the bias, zeros where there is
 * none: as {@code Arithmetic.convolve} reads them. Packed by each launch, since it is next to
 * nothing and nobody then has to say that the weights changed.
 *
 * @param values (W + 1) rows of {@code pitch}
 * @param pitch the number of channels
 */
@SuppressWarnings("ArrayRecordComponent") // lives for one launch and is compared by nobody
record Conv1dTaps(float[] values, int pitch) {
  private static final int TASK = 1024;

  static Conv1dTaps pack(
      CausalConv1dSpec spec, Conv1dBinding weights, Compute compute, TaskScratch scratch) {
    int channels = spec.channels();
    int width = spec.width();
    float[] values = scratch.floats(0, (width + 1) * channels);
    Elements weight = Elements.of(weights.weight());
    Tensor biasTensor = weights.bias();
    Elements bias = biasTensor == null ? null : Elements.of(biasTensor);
    compute.run(
        Math.ceilDiv(channels, TASK),
        (task, _) -> {
          int from = task * TASK;
          int count = Math.min(TASK, channels - from);
          for (int k = 0; k < width; k++) {
            weight.copyAlong(0, count, values, k * channels + from, from, k);
          }
          int last = width * channels + from;
          if (bias == null) {
            Arrays.fill(values, last, last + count, 0);
          } else {
            bias.copyAlong(0, count, values, last, from);
          }
        });
    return new Conv1dTaps(values, channels);
  }
}
