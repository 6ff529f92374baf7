package dev.weft;

import dev.weft.fake.FakeDevice;
import dev.weft.fake.FakeProvider;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import java.util.List;

/** A small attention with its tensors on a fake device: the launch that most tests use. */
final class Attention {
  static final MobaAttentionSpec SPEC =
      MobaAttentionSpec.builder()
          .dataType(DataType.F32)
          .heads(2)
          .headDim(8)
          .blockSize(4)
          .topK(2)
          .build();

  final Device device;
  final FakeDevice fake;
  final Stream stream;
  final MobaAttention kernel;
  final Tensor q;
  final Tensor k;
  final Tensor v;
  final Tensor cuSeqlens;
  final Tensor out;

  Attention(FakeProvider provider) {
    this(provider, DeviceOptions.defaults());
  }

  Attention(FakeProvider provider, DeviceOptions options) {
    device = provider.open(options);
    fake = provider.device();
    stream = device.defaultStream();
    kernel = device.prepare(SPEC);
    q = device.allocate(DataType.F32, 6, 2, 8);
    k = device.allocate(DataType.F32, 6, 2, 8);
    v = device.allocate(DataType.F32, 6, 2, 8);
    cuSeqlens = device.allocate(DataType.I32, 3);
    out = device.allocate(DataType.F32, 6, 2, 8);
  }

  MobaForward arguments() {
    return MobaForward.of(q, k, v, cuSeqlens, out);
  }

  void launch(Stream on) {
    kernel.forward(on, arguments());
  }

  void launch() {
    launch(stream);
  }

  List<Tensor> tensors() {
    return List.of(q, k, v, cuSeqlens, out);
  }
}
