package dev.weft.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;

/**
 * What a warm launch leaves on the heap: descriptions of tensors and of the launch, but nothing
 * that grows with the tokens, and no vector that C2 failed to keep in a register.
 */
@EnabledIfSystemProperty(
    named = "weft.test.path",
    matches = "vector",
    disabledReason = "plain loops keep an array of 64 sums for each product")
class AllocationTest {
  private static final long MOST_BYTES = 16 << 10;
  private static final int LAUNCHES = 10;
  private static final long LONGEST_WARM_UP = 60_000_000_000L;
  private static final int TOKENS = 1024;

  private final ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
  private final Random random = new Random(42);
  private final List<AutoCloseable> open = new ArrayList<>();
  private final Device device =
      keep(Weft.open(new CpuProvider(), "0", DeviceOptions.builder().threads(2).build()));

  @AfterEach
  void close() throws Exception {
    for (AutoCloseable each : open.reversed()) {
      each.close();
    }
  }

  private <T extends AutoCloseable> T keep(T each) {
    open.add(each);
    return each;
  }

  private Tensor drawn(long... shape) {
    return drawn(DataType.F32, shape);
  }

  private Tensor drawn(DataType type, long... shape) {
    HostTensor values = HostTensor.allocate(type, shape);
    for (long i = 0; i < values.elements(); i++) {
      values.set(i, 0.3 * random.nextGaussian());
    }
    return keep(device.upload(values));
  }

  private Tensor empty(DataType type, long... shape) {
    return keep(device.allocate(type, shape));
  }

  private Tensor oneSequence() {
    return keep(device.upload(HostTensor.ofInts(new int[] {0, TOKENS}, 2)));
  }

  private void expectNextToNothing(String what, Consumer<Stream> launch) {
    Stream stream = keep(device.newStream());
    long least = Long.MAX_VALUE;
    long start = System.nanoTime();
    while (least > MOST_BYTES && System.nanoTime() - start < LONGEST_WARM_UP) {
      long before = threads.getTotalThreadAllocatedBytes();
      for (int i = 0; i < LAUNCHES; i++) {
        launch.accept(stream);
        stream.synchronize();
      }
      least = Math.min(least, (threads.getTotalThreadAllocatedBytes() - before) / LAUNCHES);
    }
    assertTrue(least <= MOST_BYTES, what + " leaves " + least + " bytes on the heap");
  }

  @Test
  void ofMoba() {
    MobaAttentionSpec spec =
        MobaAttentionSpec.builder()
            .dataType(DataType.F32)
            .heads(4)
            .kvHeads(2)
            .headDim(32)
            .blockSize(64)
            .topK(3)
            .modes(MobaAttentionSpec.Mode.FORWARD, MobaAttentionSpec.Mode.BACKWARD)
            .build();
    MobaAttention moba = keep(device.prepare(spec));
    Tensor q = drawn(TOKENS, 4, 32);
    Tensor k = drawn(TOKENS, 2, 32);
    Tensor v = drawn(TOKENS, 2, 32);
    Tensor out = empty(DataType.F32, TOKENS, 4, 32);
    Tensor lse = empty(DataType.F32, TOKENS, 4);
    Tensor selection = empty(DataType.I32, TOKENS, 4, 2);
    Tensor lengths = oneSequence();
    MobaForward forward = MobaForward.of(q, k, v, lengths, out).lse(lse).selection(selection);
    expectNextToNothing("moba forward", stream -> moba.forward(stream, forward));
    MobaBackward backward =
        MobaBackward.of(q, k, v, lengths, out, lse, drawn(TOKENS, 4, 32))
            .selection(selection)
            .dq(empty(DataType.F32, TOKENS, 4, 32))
            .dk(empty(DataType.F32, TOKENS, 2, 32))
            .dv(empty(DataType.F32, TOKENS, 2, 32));
    expectNextToNothing("moba backward", stream -> moba.backward(stream, backward));
  }

  @Test
  void ofMoe() {
    MoeDispatchSpec spec =
        MoeDispatchSpec.builder()
            .dataType(DataType.F32)
            .hidden(64)
            .intermediate(48)
            .experts(8)
            .topK(2)
            .modes(MoeDispatchSpec.Mode.FORWARD, MoeDispatchSpec.Mode.BACKWARD)
            .build();
    MoeDispatch moe = keep(device.prepare(spec));
    MoeBinding weights =
        keep(
            moe.bind(
                MoeWeights.of(drawn(8, 64, 48))
                    .gateUp(drawn(8, 96, 64))
                    .routerWeight(drawn(8, 64))));
    MoeSaved saved =
        MoeSaved.of(
                empty(DataType.I32, TOKENS, 2),
                empty(DataType.F32, TOKENS, 2),
                empty(DataType.I32, TOKENS * 2L))
            .logits(empty(DataType.F32, TOKENS, 8));
    Tensor x = drawn(TOKENS, 64);
    MoeForward forward = MoeForward.of(weights, x, empty(DataType.F32, TOKENS, 64)).saved(saved);
    expectNextToNothing("moe forward", stream -> moe.forward(stream, forward));
    MoeBackward backward =
        MoeBackward.of(weights, x, drawn(TOKENS, 64), saved)
            .dx(empty(DataType.F32, TOKENS, 64))
            .dgateUp(empty(DataType.F32, 8, 96, 64))
            .ddown(empty(DataType.F32, 8, 64, 48))
            .drouterWeight(empty(DataType.F32, 8, 64));
    expectNextToNothing("moe backward", stream -> moe.backward(stream, backward));
  }

  @Test
  void ofConv1d() {
    CausalConv1dSpec spec =
        CausalConv1dSpec.builder()
            .dataType(DataType.F32)
            .channels(256)
            .width(4)
            .bias(true)
            .modes(CausalConv1dSpec.Mode.FORWARD, CausalConv1dSpec.Mode.BACKWARD)
            .build();
    CausalConv1d conv = keep(device.prepare(spec));
    Conv1dBinding weights = keep(conv.bind(drawn(256, 4), drawn(256)));
    Tensor x = drawn(TOKENS, 256);
    Tensor lengths = oneSequence();
    Conv1dForward forward = Conv1dForward.of(weights, x, lengths, empty(DataType.F32, TOKENS, 256));
    expectNextToNothing("conv1d forward", stream -> conv.forward(stream, forward));
    Conv1dBackward backward =
        Conv1dBackward.of(weights, x, lengths, drawn(TOKENS, 256))
            .dx(empty(DataType.F32, TOKENS, 256))
            .dweight(empty(DataType.F32, 256, 4))
            .dbias(empty(DataType.F32, 256));
    expectNextToNothing("conv1d backward", stream -> conv.backward(stream, backward));
  }

  @Test
  void ofConv1dInBfloat16() {
    CausalConv1dSpec spec =
        CausalConv1dSpec.builder()
            .dataType(DataType.BF16)
            .channels(256)
            .width(4)
            .bias(true)
            .modes(CausalConv1dSpec.Mode.FORWARD)
            .build();
    CausalConv1d conv = keep(device.prepare(spec));
    Conv1dBinding weights =
        keep(conv.bind(drawn(DataType.BF16, 256, 4), drawn(DataType.BF16, 256)));
    Tensor x = drawn(DataType.BF16, TOKENS, 256);
    Tensor out = empty(DataType.BF16, TOKENS, 256);
    Conv1dForward forward = Conv1dForward.of(weights, x, oneSequence(), out);
    expectNextToNothing("conv1d forward", stream -> conv.forward(stream, forward));
  }
}
