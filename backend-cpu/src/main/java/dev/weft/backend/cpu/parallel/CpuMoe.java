package dev.weft.backend.cpu.parallel;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.backend.cpu.host.HostStream;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.WeightFormat;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MoeKernel;

/**
 * Mixture-of-experts dispatch in float32 on all cores.
 *
 * <p>Work is cut by tokens, experts and rows, never by the number of threads, and every sum is one
 * task's: results do not depend on the threads. Weights are read where they lie, a row at a time.
 * Intermediates are heap arrays of a launch, bounded by working in groups of tokens (forward) or
 * one expert at a time (backward).
 */
final class CpuMoe implements MoeKernel {
  private final MoeDispatchSpec spec;
  private final WorkPool pool;

  CpuMoe(MoeDispatchSpec spec, WorkPool pool) {
    this.spec = spec;
    this.pool = pool;
  }

  static Support supports(MoeDispatchSpec spec) {
    return spec.weightFormat().text().equals(WeightFormat.DENSE.text())
        ? Support.yes()
        : Support.no("weightFormat=" + spec.weightFormat().text() + ", only dense");
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
    HostStream.of(context)
        .submit(
            "moe.forward",
            () -> new CpuMoeForward(spec, pool, arguments, CpuMoeForward.GROUP).run());
  }

  @Override
  public void backward(LaunchContext context, MoeBackward arguments) {
    HostStream.of(context)
        .submit("moe.backward", () -> new CpuMoeBackward(spec, pool, arguments).run());
  }
}
