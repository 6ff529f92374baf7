package dev.weft.backend.cpu.parallel;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.Conv1dKernel;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/** Not built yet: supports nothing. */
final class CpuConv1d implements Conv1dKernel {
  CpuConv1d(CausalConv1dSpec spec, WorkPool pool) {}

  static Support supports(CausalConv1dSpec spec) {
    return Support.no("not built yet");
  }

  @Override
  public long workspaceBytes(CausalConv1dSpec.Mode mode, Limits limits) {
    return 0;
  }

  @Override
  public BackendBinding bind(Tensor weight, @Nullable Tensor bias) {
    return new BackendBinding() {};
  }

  @Override
  public void forward(LaunchContext context, Conv1dForward arguments) {
    throw new UnsupportedOperationException("not built yet");
  }
}
