package dev.weft.backend.cpu.parallel;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.HostStream;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.Conv1dKernel;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/**
 * Causal conv1d in float32, vectors running along the channels. Work is cut into ranges of
 * channels, and in forward and update into sequences and parts of long ones too: channels never
 * meet, and a token's window is read again where a part starts, so the cut changes no bit of any
 * result.
 */
final class CpuConv1d implements Conv1dKernel {
  private final CausalConv1dSpec spec;
  private final Compute compute;

  CpuConv1d(CausalConv1dSpec spec, Compute compute) {
    this.spec = spec;
    this.compute = compute;
  }

  static Support supports(CausalConv1dSpec spec) {
    return Support.yes();
  }

  @Override
  public long workspaceBytes(CausalConv1dSpec.Mode mode, Limits limits) {
    return 0;
  }

  @Override
  public BackendBinding bind(Tensor weight, @Nullable Tensor bias) {
    return new BackendBinding() {}; // read in place
  }

  @Override
  public void forward(LaunchContext context, Conv1dForward a) {
    submit(
        context,
        "conv1d.forward",
        a.weights(),
        (taps, scratch) -> new CpuConv1dForward(spec, compute, a, taps, scratch).run());
  }

  @Override
  public void update(LaunchContext context, Conv1dUpdate a) {
    submit(
        context,
        "conv1d.update",
        a.weights(),
        (taps, scratch) -> new CpuConv1dForward(spec, compute, a, taps, scratch).run());
  }

  @Override
  public void backward(LaunchContext context, Conv1dBackward a) {
    submit(
        context,
        "conv1d.backward",
        a.weights(),
        (taps, _) -> new CpuConv1dBackward(spec, compute, a, taps).run());
  }

  private interface Launch {
    void run(Conv1dTaps taps, TaskScratch scratch);
  }

  private void submit(LaunchContext context, String name, Conv1dBinding weights, Launch launch) {
    HostStream.of(context)
        .submit(
            name,
            () ->
                compute.withScratch(scratch ->
                    launch.run(Conv1dTaps.pack(spec, weights, compute, scratch), scratch)));
  }
}
