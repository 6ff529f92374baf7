package dev.weft.backend.cpu.parallel;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.HostTensor;
import dev.weft.Limits;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.backend.cpu.CpuProvider;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Random;
import org.junit.jupiter.api.Test;

class CpuMoeForwardTest {
  private static final int TOKENS = 90;

  private final Random random = new Random(11);

  private Tensor drawn(Device device, long... shape) {
    HostTensor values = HostTensor.allocate(DataType.F32, shape);
    for (long i = 0; i < values.elements(); i++) {
      values.set(i, 0.3 * random.nextGaussian());
    }
    return device.upload(values);
  }

  @Test
  void groupsOfTokensDoNotChangeABit() {
    MoeDispatchSpec spec =
        MoeDispatchSpec.builder()
            .dataType(DataType.F32)
            .hidden(8)
            .intermediate(5)
            .experts(2)
            .topK(2)
            .sharedIntermediate(3)
            .modes(MoeDispatchSpec.Mode.FORWARD, MoeDispatchSpec.Mode.BACKWARD)
            .build();
    try (Device device = Weft.open(new CpuProvider(), "0", DeviceOptions.defaults());
        MoeDispatch moe = device.prepare(spec);
        Compute compute = new Compute(new WorkPool(2), Arithmetic.ofThisMachine());
        Arena arena = Arena.ofShared();
        Tensor down = drawn(device, 2, 8, 5);
        Tensor gateUp = drawn(device, 2, 10, 8);
        Tensor router = drawn(device, 2, 8);
        Tensor sharedGateUp = drawn(device, 6, 8);
        Tensor sharedDown = drawn(device, 8, 3);
        Tensor x = drawn(device, TOKENS, 8);
        Tensor y = device.allocate(DataType.F32, TOKENS, 8);
        Tensor ids = device.allocate(DataType.I32, TOKENS, 2);
        Tensor routing = device.allocate(DataType.F32, TOKENS, 2);
        Tensor permutation = device.allocate(DataType.I32, TOKENS * 2L);
        Tensor logits = device.allocate(DataType.F32, TOKENS, 2);
        Tensor z = device.allocate(DataType.F32, TOKENS * 2L, 10);
        MoeBinding weights =
            moe.bind(
                MoeWeights.of(down)
                    .gateUp(gateUp)
                    .routerWeight(router)
                    .sharedGateUp(sharedGateUp)
                    .sharedDown(sharedDown))) {
      MoeForward arguments =
          MoeForward.of(weights, x, y)
              .saved(MoeSaved.of(ids, routing, permutation).logits(logits).z(z));
      TaskScratch scratch = new TaskScratch();
      new CpuMoeForward(spec, compute, arguments, workspace(arena, spec, TOKENS), scratch).run();
      float[] whole = y.download().toFloats();
      float[] wholeZ = z.download().toFloats();
      // Groups of more rows than take dot products: those sum in another order.
      for (int groupTokens : new int[] {15, 30, 45}) {
        new CpuMoeForward(spec, compute, arguments, workspace(arena, spec, groupTokens), scratch)
            .run();
        assertArrayEquals(whole, y.download().toFloats());
        assertArrayEquals(wholeZ, z.download().toFloats());
      }
    }
  }

  private static MemorySegment workspace(Arena arena, MoeDispatchSpec spec, int tokens) {
    return arena.allocate(MoeWorkspace.bytes(spec, Limits.of(tokens, 0)), 64);
  }
}
