package dev.weft.backend.cpu.parallel;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MoeKernel;

/** Not built yet: supports nothing. */
final class CpuMoe implements MoeKernel {
  CpuMoe(MoeDispatchSpec spec, WorkPool pool) {}

  static Support supports(MoeDispatchSpec spec) {
    return Support.no("not built yet");
  }

  @Override
  public long workspaceBytes(MoeDispatchSpec.Mode mode, Limits limits) {
    return 0;
  }

  @Override
  public BackendBinding bind(MoeWeights weights) {
    return new BackendBinding() {};
  }

  @Override
  public void forward(LaunchContext context, MoeForward arguments) {
    throw new UnsupportedOperationException("not built yet");
  }
}
