package dev.weft.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.Graph;
import dev.weft.HostTensor;
import dev.weft.Limits;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** How many kernels, copies and fills a call gives to the device, whatever its size. */
class CudaLaunchCountTest {
  private Device device;
  private Stream stream;

  @BeforeEach
  void openDevice() {
    CudaProvider provider = new CudaProvider();
    PresentDevice.assumed(provider);
    device = Weft.open(provider, null, DeviceOptions.defaults());
    stream = device.newStream();
  }

  @AfterEach
  void close() {
    if (device != null) { // null where the test was skipped; closes what is open on it
      device.close();
    }
  }

  private Tensor rows(long... shape) {
    return device.allocate(DataType.BF16, shape);
  }

  private Tensor starts(int tokens) {
    return device.upload(HostTensor.ofInts(new int[] {0, tokens}, 2));
  }

  private int launches(Consumer<Stream> body) {
    try (Graph graph = stream.capture(body)) {
      return graph.nodes().orElseThrow();
    }
  }

  @Test
  void aConvolutionIsOneLaunch() {
    CausalConv1d conv =
        device.prepare(
            CausalConv1dSpec.builder().dataType(DataType.BF16).channels(256).width(4).build());
    Conv1dBinding weights = conv.bind(rows(256, 4), null);
    for (int tokens : new int[] {1, 100, 5000}) {
      Conv1dForward a =
          Conv1dForward.of(weights, rows(tokens, 256), starts(tokens), rows(tokens, 256));
      assertEquals(1, launches(s -> conv.forward(s, a)), tokens + " tokens");
    }
  }

  @Test
  void attentionIsEightLaunchesForAllHeadsThatScratchHasRoomFor() {
    MobaAttention moba =
        device.prepare(
            MobaAttentionSpec.builder()
                .dataType(DataType.BF16)
                .heads(8)
                .kvHeads(2)
                .headDim(128)
                .blockSize(128)
                .topK(3)
                .build());
    for (int tokens : new int[] {1000, 5000}) { // more blocks than are selected
      stream.reserve(moba.workspaceBytes(Limits.of(tokens, 1)));
      MobaForward a =
          MobaForward.of(
              rows(tokens, 8, 128),
              rows(tokens, 2, 128),
              rows(tokens, 2, 128),
              starts(tokens),
              rows(tokens, 8, 128));
      assertEquals(8, launches(s -> moba.forward(s, a)), tokens + " tokens");
    }
  }

  @Test
  void expertsAreAtMostSixLaunches() {
    MoeDispatch moe =
        device.prepare(
            MoeDispatchSpec.builder()
                .dataType(DataType.BF16)
                .hidden(256)
                .intermediate(128)
                .experts(16)
                .topK(2)
                .build());
    MoeBinding weights =
        moe.bind(
            MoeWeights.of(rows(16, 256, 128))
                .gateUp(rows(16, 256, 256))
                .routerWeight(rows(16, 256)));
    for (int tokens : new int[] {1, 100, 2000}) {
      stream.reserve(moe.workspaceBytes(Limits.of(tokens, 1)));
      MoeForward a = MoeForward.of(weights, rows(tokens, 256), rows(tokens, 256));
      int launches = launches(s -> moe.forward(s, a));
      assertTrue(launches <= 6, launches + " launches for " + tokens + " tokens");
    }
  }
}
