package dev.weft.backend.cpu.reference;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.backend.cpu.ReferenceProvider;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.spi.Expected;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** Two tokens, of which the second gives the first a weight below F32's normal numbers. */
class MobaGradientOracleTest {
  private static final int DIM = 8;
  private static final double WEIGHT = Math.exp(-88); // of key 0 for query 1: half of 2^-126

  @Test
  void aWeightBelowTheNormalNumbersMayBeTakenForZero() {
    try (Device device = Weft.open(new ReferenceProvider(), "0", DeviceOptions.defaults());
        Tensor q = rows(device, 0, 1000);
        Tensor k = rows(device, 0, 88 / 1000f);
        Tensor v = rows(device, 1, 0);
        Tensor starts = device.upload(HostTensor.ofInts(new int[] {0, 2}, 2));
        Tensor out = rows(device, 0, 0);
        Tensor lse = device.upload(HostTensor.ofFloats(DataType.F32, new float[] {0, 88}, 2, 1));
        Tensor dout = rows(device, 0, 1);
        Tensor dk = device.allocate(DataType.F32, 2, 1, DIM);
        Tensor dv = device.allocate(DataType.F32, 2, 1, DIM)) {
      MobaAttentionSpec spec =
          MobaAttentionSpec.builder()
              .dataType(DataType.F32)
              .heads(1)
              .headDim(DIM)
              .blockSize(4)
              .topK(1)
              .scale(1)
              .modes(Mode.BACKWARD)
              .build();
      var expected =
          MobaOracle.backward(spec, MobaBackward.of(q, k, v, starts, out, lse, dout).dk(dk).dv(dv));
      // dP is 1 in one element: dS = WEIGHT, and dk = 1000 dS.
      isAndMayBeZero(expected.get("dk"), 1000 * WEIGHT, 2 * 1000 * 0x1p-126);
      isAndMayBeZero(expected.get("dv"), WEIGHT, 2 * 0x1p-126);
    }
  }

  /** Looks at the first element, of key 0. */
  private static void isAndMayBeZero(@Nullable Expected asked, double value, double mostError) {
    Expected expected = Objects.requireNonNull(asked);
    assertEquals(value, expected.value()[0], 1e-3 * value);
    assertTrue(expected.error()[0] >= value, () -> expected.error()[0] + " for " + value);
    assertTrue(expected.error()[0] < 1.01 * mostError, () -> "no more: " + expected.error()[0]);
  }

  /** Two rows that are 0 but for their first element. */
  private static Tensor rows(Device device, float first, float second) {
    float[] values = new float[2 * DIM];
    values[0] = first;
    values[DIM] = second;
    return device.upload(HostTensor.ofFloats(DataType.F32, values, 2, 1, DIM));
  }
}
