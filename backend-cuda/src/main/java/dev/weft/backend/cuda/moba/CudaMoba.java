package dev.weft.backend.cuda.moba;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MobaKernel;
import org.jspecify.annotations.Nullable;

/** MoBA attention on a GPU. The kernels say in src/main/cuda/moba how they work. */
public final class CudaMoba implements MobaKernel {
  private static final int MOST_HEADS = 65_535; // blocks along y

  private final MobaAttentionSpec spec;
  private final @Nullable MobaForwardPass forward;
  private final @Nullable MobaAppendPass append;
  private final @Nullable MobaBackwardPass backward;

  /** Finds every kernel that a launch of the spec may need. */
  public CudaMoba(CudaDevice device, MobaAttentionSpec spec) {
    this.spec = spec;
    boolean paged = spec.modes().contains(Mode.PAGED);
    MobaLists lists = new MobaLists(device);
    forward =
        paged || spec.modes().contains(Mode.FORWARD)
            ? new MobaForwardPass(device, spec, lists)
            : null;
    append = paged ? new MobaAppendPass(device, spec) : null;
    backward =
        spec.modes().contains(Mode.BACKWARD) ? new MobaBackwardPass(device, spec, lists) : null;
  }

  /** All types, layouts, block sizes and options; rows that there are kernels for. */
  public static Support supports(MobaAttentionSpec spec) {
    if (Math.max(spec.headDim(), spec.valueDim()) > MobaTiles.MOST_WIDTH) {
      return Support.no(
          "rows of "
              + Math.max(spec.headDim(), spec.valueDim())
              + " columns: the CUDA backend has kernels for 1 to "
              + MobaTiles.MOST_WIDTH);
    }
    if (spec.heads() > MOST_HEADS) {
      return Support.no(spec.heads() + " heads: the CUDA backend takes at most " + MOST_HEADS);
    }
    return Support.yes();
  }

  @Override
  public long workspaceBytes(Mode mode, Limits limits) {
    return mode == Mode.BACKWARD
        ? MobaBackwardPlan.of(spec, limits).bytes()
        : MobaForwardPlan.of(spec, mode, limits).bytes();
  }

  private static <T> T prepared(@Nullable T pass) {
    if (pass == null) {
      throw new IllegalStateException("a launch of a mode that the spec lacks");
    }
    return pass;
  }

  @Override
  public void forward(LaunchContext context, MobaForward a) {
    prepared(forward).run(context, a);
  }

  @Override
  public void backward(LaunchContext context, MobaBackward a) {
    prepared(backward).run(context, a);
  }

  @Override
  public void append(LaunchContext context, MobaAppend a) {
    prepared(append).run(context, a);
  }

  @Override
  public void paged(LaunchContext context, MobaPaged a) {
    prepared(forward).run(context, a);
  }
}
