package dev.weft.backend.cpu.reference;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MobaKernel;

/** Not built yet: supports nothing. */
final class MobaReference implements MobaKernel {
  MobaReference(MobaAttentionSpec spec) {}

  static Support supports(MobaAttentionSpec spec) {
    return Support.no("not built yet");
  }

  @Override
  public long workspaceBytes(MobaAttentionSpec.Mode mode, Limits limits) {
    return 0;
  }

  @Override
  public void forward(LaunchContext context, MobaForward arguments) {
    throw new UnsupportedOperationException("not built yet");
  }
}
