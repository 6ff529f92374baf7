package com.example.weft;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.DeviceDescriptor;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/** The host as a device. */
final class ExampleDevice implements BackendDevice {
  private final DeviceDescriptor descriptor;

  ExampleDevice(DeviceDescriptor descriptor) {
    this.descriptor = descriptor;
  }

  @Override
  public DeviceDescriptor descriptor() {
    return descriptor;
  }

  /** A no has a reason that helps; a yes holds for every size, stride and alignment. */
  @Override
  public Support supports(OperationSpec<?> spec) {
    return switch (spec) {
      case CausalConv1dSpec conv -> Support.yes();
      case MobaAttentionSpec moba ->
          Support.no("example has no attention, only causal convolutions");
      case MoeDispatchSpec moe ->
          Support.no("example has no mixture of experts, only causal convolutions");
      default -> Support.no("example does not know the operation " + spec.operation());
    };
  }

  @Override
  public BackendKernel prepare(OperationSpec<?> spec) {
    return new ExampleConv1d((CausalConv1dSpec) spec); // only asked for what supports() affirms
  }

  @Override
  public BackendMemory allocate(long bytes) {
    return ExampleMemory.allocate("device memory", bytes);
  }

  @Override
  public BackendHostMemory allocateHost(long bytes) {
    return ExampleMemory.allocate("host memory", bytes);
  }

  /** Host memory needs no copy to become device memory, if any thread may touch it. */
  @Override
  public Optional<BackendMemory> wrap(MemorySegment segment) {
    return segment.isNative() && !segment.isReadOnly() && ExampleStream.isShared(segment)
        ? Optional.of(new ExampleMemory(segment, null))
        : Optional.empty();
  }

  @Override
  public BackendStream newStream() {
    return new ExampleStream();
  }

  @Override
  public void close() {}
}
