package dev.weft.gpu.moba;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.ComputeTraits;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MobaKernel;
import org.jspecify.annotations.Nullable;

/** MoBA attention as a chain of dispatches, on any device that runs compute kernels. */
public final class MobaRecipe implements MobaKernel {
  private static final int MOST_HEADS = 65_535; // groups along y

  private final @Nullable MobaForwardRecipe forward;
  private final @Nullable MobaAppendRecipe append;
  private final @Nullable MobaBackwardRecipe backward;

  /** Compiles every kernel that a launch of the spec may need. */
  public MobaRecipe(ComputeDevice device, MobaAttentionSpec spec) {
    MobaTiles tiles =
        MobaTiles.of(spec, device.traits())
            .orElseThrow(() -> new IllegalArgumentException(spec + " is not supported"));
    boolean paged = spec.modes().contains(Mode.PAGED);
    MobaListBuilder lists = new MobaListBuilder(device);
    forward =
        paged || spec.modes().contains(Mode.FORWARD)
            ? new MobaForwardRecipe(device, spec, tiles, lists)
            : null;
    append = paged ? new MobaAppendRecipe(device, spec) : null;
    backward =
        spec.modes().contains(Mode.BACKWARD)
            ? new MobaBackwardRecipe(
                device,
                spec,
                MobaGradientTiles.of(spec, device.traits())
                    .orElseThrow(() -> new IllegalArgumentException(spec + " is not supported")),
                lists)
            : null;
  }

  /** All types, layouts, block sizes and options; rows that there are programs for. */
  public static Support supports(ComputeTraits traits, MobaAttentionSpec spec) {
    int width = Math.max(spec.headDim(), spec.valueDim());
    if (width > MobaTiles.MOST_WIDTH) {
      return Support.no(
          "rows of " + width + " columns: there are kernels for 1 to " + MobaTiles.MOST_WIDTH);
    }
    if (spec.heads() > MOST_HEADS) {
      return Support.no(spec.heads() + " heads: at most " + MOST_HEADS + " are taken");
    }
    if (MobaTiles.of(spec, traits).isEmpty() || MobaGradientTiles.of(spec, traits).isEmpty()) {
      return Support.no(
          "a device with groups of "
              + traits.mostGroupSize()
              + " work-items and "
              + traits.localBytes()
              + " bytes of local memory: too few for any of the kernels");
    }
    return Support.yes();
  }

  private static <T> T prepared(@Nullable T pass) {
    if (pass == null) {
      throw new IllegalStateException("a launch of a mode that the spec lacks");
    }
    return pass;
  }

  @Override
  public long workspaceBytes(Mode mode, Limits limits) {
    return mode == Mode.BACKWARD
        ? prepared(backward).plan(limits).bytes()
        : prepared(forward).plan(mode, limits).bytes();
  }

  @Override
  public void forward(LaunchContext context, MobaForward a) {
    ComputeStream.launch(context, () -> prepared(forward).run(context, a));
  }

  @Override
  public void backward(LaunchContext context, MobaBackward a) {
    ComputeStream.launch(context, () -> prepared(backward).run(context, a));
  }

  @Override
  public void append(LaunchContext context, MobaAppend a) {
    ComputeStream.launch(context, () -> prepared(append).run(context, a));
  }

  @Override
  public void paged(LaunchContext context, MobaPaged a) {
    ComputeStream.launch(context, () -> prepared(forward).run(context, a));
  }
}
