package dev.weft.backend.cpu.parallel;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.backend.cpu.host.HostMemory;
import dev.weft.backend.cpu.host.HostStream;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.WeightFormat;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MoeKernel;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Mixture-of-experts dispatch in float32 on all cores.
 *
 * <p>Work is cut by tokens, experts and rows, never by the number of threads, and every sum is one
 * task's: results do not depend on the threads. Weights are read where they lie, once for all the
 * rows of an expert. What grows with the tokens lies in the stream's workspace, which under a limit
 * makes forward work in groups of tokens; backward takes one expert at a time.
 */
final class CpuMoe implements MoeKernel {
  private final MoeDispatchSpec spec;
  private final Compute compute;
  // Of the last backward launch.
  private volatile @Nullable Gradients last;

  CpuMoe(MoeDispatchSpec spec, Compute compute) {
    this.spec = spec;
    this.compute = compute;
  }

  static Support supports(MoeDispatchSpec spec) {
    return spec.weightFormat().text().equals(WeightFormat.DENSE.text())
        ? Support.yes()
        : Support.no("weightFormat=" + spec.weightFormat().text() + ", only dense");
  }

  @Override
  public long workspaceBytes(MoeDispatchSpec.Mode mode, Limits limits) {
    return switch (mode) {
      case FORWARD -> MoeWorkspace.bytes(spec, limits);
      case BACKWARD -> MoeBackwardWorkspace.bytes(spec, limits);
    };
  }

  @Override
  public BackendBinding bind(MoeWeights weights) {
    return new Bound(
        ExpertMatrices.routed(spec, weights),
        spec.sharedIntermediate() > 0 ? ExpertMatrices.shared(spec, weights) : null);
  }

  /** Where the weights lie, which are read in place. */
  record Bound(ExpertMatrices routed, @Nullable ExpertMatrices shared) implements BackendBinding {}

  @Override
  public void forward(LaunchContext context, MoeForward arguments) {
    HostStream.of(context)
        .submit(
            "moe.forward",
            () ->
                compute.withScratch(scratch ->
                    new CpuMoeForward(spec, compute, arguments, workspace(context), scratch)
                        .run()));
  }

  @Override
  public void backward(LaunchContext context, MoeBackward arguments) {
    HostStream.of(context)
        .submit(
            "moe.backward",
            () ->
                compute.withScratch(scratch ->
                    new CpuMoeBackward(
                            spec, compute, gradients(arguments), workspace(context), scratch)
                        .run()));
  }

  /** Where a launch's gradients go. */
  record Gradients(MoeBackward arguments, ExpertMatrices routed, @Nullable ExpertMatrices shared) {}

  /** The same again, where the same arguments are launched again. */
  private Gradients gradients(MoeBackward arguments) {
    Gradients gradients = last;
    if (gradients == null || gradients.arguments != arguments) {
      gradients =
          new Gradients(
              arguments,
              ExpertMatrices.routed(spec, arguments),
              spec.sharedIntermediate() > 0 ? ExpertMatrices.shared(spec, arguments) : null);
      last = gradients;
    }
    return gradients;
  }

  private static MemorySegment workspace(LaunchContext context) {
    return context.workspace() instanceof HostMemory memory
        ? memory.segment().asSlice(context.workspaceOffset(), context.workspaceBytes())
        : MemorySegment.NULL;
  }
}
