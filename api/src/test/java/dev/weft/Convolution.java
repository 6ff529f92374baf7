package dev.weft;

import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;

/** A small convolution with bound weights on a fake device. */
final class Convolution implements AutoCloseable {
  static final CausalConv1dSpec SPEC =
      CausalConv1dSpec.builder()
          .dataType(DataType.F32)
          .channels(8)
          .width(4)
          .bias(true)
          .modes(
              CausalConv1dSpec.Mode.FORWARD,
              CausalConv1dSpec.Mode.UPDATE,
              CausalConv1dSpec.Mode.BACKWARD)
          .build();

  final CausalConv1d kernel;
  final Tensor weight;
  final Tensor bias;
  final Conv1dBinding binding;
  final Tensor x;
  final Tensor cuSeqlens;
  final Tensor out;

  Convolution(Device device) {
    kernel = device.prepare(SPEC);
    weight = device.allocate(DataType.F32, 8, 4);
    bias = device.allocate(DataType.F32, 8);
    binding = kernel.bind(weight, bias);
    x = device.allocate(DataType.F32, 5, 8);
    cuSeqlens = device.allocate(DataType.I32, 3);
    out = device.allocate(DataType.F32, 5, 8);
  }

  Conv1dForward arguments() {
    return Conv1dForward.of(binding, x, cuSeqlens, out);
  }

  void forward(Stream stream) {
    kernel.forward(stream, arguments());
  }

  @Override
  public void close() {
    out.close();
    cuSeqlens.close();
    x.close();
    binding.close();
    bias.close();
    weight.close();
    kernel.close();
  }
}
