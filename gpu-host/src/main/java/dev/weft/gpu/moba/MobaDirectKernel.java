package dev.weft.gpu.moba;

import dev.weft.Limits;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Optional;

/**
 * Attention of few queries of the paged cache, without lists: moba/direct.cl.
 *
 * @param kernel its kernel
 * @param lanes work-items that share a key
 */
record MobaDirectKernel(ComputeKernel kernel, int lanes) {
  static final int GROUP = 256;

  /** Query tokens of a sequence, on average, up to which a row and block by itself is faster. */
  private static final long MOST_TOKENS = 8;

  private static final int LEAST_LANES = 8;
  private static final int COLUMNS = 8;

  /** Sums of all work-items, and what a share of them leaves beside. */
  private static final long LOCAL_BYTES = 4L * GROUP * COLUMNS + 8L * GROUP / LEAST_LANES;

  /** The kernel of a spec, where the backend has one and the device has room for its groups. */
  static Optional<MobaDirectKernel> of(ComputeDevice device, MobaAttentionSpec spec) {
    ComputeTraits traits = device.traits();
    KernelName name =
        KernelName.of("moba/direct", "moba_direct")
            .with("TYPE", TensorLayout.typeCode(spec.dataType()))
            .with("MATRIX", matrixCode(spec, traits.matrixUnits()));
    if (traits.mostGroupSize() < GROUP || traits.localBytes() < LOCAL_BYTES || !device.has(name)) {
      return Optional.empty();
    }
    int lanes = LEAST_LANES;
    while (lanes * COLUMNS < Math.max(spec.headDim(), spec.valueDim())) {
      lanes *= 2;
    }
    return Optional.of(new MobaDirectKernel(device.kernel(name), lanes));
  }

  /**
   * Shuffles of 32 work-items come with NVIDIA's matrix units, and with cooperative matrices, whose
   * waves are subgroups; other units have no part in this.
   */
  private static int matrixCode(MobaAttentionSpec spec, MatrixUnits units) {
    return units == MatrixUnits.NVIDIA_MMA || units == MatrixUnits.COOPERATIVE
        ? MobaTiles.matrixCode(spec.dataType(), units)
        : 0;
  }

  /** Whether there are so few queries that lists would have a row or two each. */
  static boolean pays(Limits limits) {
    return limits.tokens() <= MOST_TOKENS * limits.sequences();
  }
}
