package dev.weft.cli;

import static dev.weft.DataType.F32;

import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;

/** The example of README.md, so that it is compiled and run; ReadmeTest compares the two. */
final class ReadmeExample {
  private ReadmeExample() {}

  static HostTensor attention(HostTensor hostQ, HostTensor hostK, HostTensor hostV, int tokens) {
    var sizes = MobaAttentionSpec.builder().heads(4).headDim(64).blockSize(128).topK(3);
    try (Device device = Weft.open(); // the best device there is
        MobaAttention moba = device.prepare(sizes.dataType(F32).build());
        Tensor q = device.upload(hostQ); // [tokens, 4, 64], and so are k and v
        Tensor k = device.upload(hostK);
        Tensor v = device.upload(hostV);
        Tensor starts = device.upload(HostTensor.ofInts(new int[] {0, tokens}, 2));
        Tensor out = device.allocate(F32, tokens, 4, 64)) {
      moba.forward(device.defaultStream(), MobaForward.of(q, k, v, starts, out)); // enqueues
      return out.download(); // waits
    }
  }
}
