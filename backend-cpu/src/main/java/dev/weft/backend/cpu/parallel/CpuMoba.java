package dev.weft.backend.cpu.parallel;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MobaKernel;

/** Not built yet: supports nothing. */
final class CpuMoba implements MobaKernel {
  CpuMoba(MobaAttentionSpec spec, WorkPool pool) {}

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
