package dev.weft.backend.cpu.parallel;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.cpu.host.HostDevice;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.DeviceDescriptor;

/** The device of the backend {@code cpu}: its kernels share one pool of threads. */
public final class CpuDevice extends HostDevice {
  private final WorkPool pool;

  /**
   * Opens the device.
   *
   * @param descriptor what the provider's probe said
   * @param pool the threads, closed with the device
   */
  public CpuDevice(DeviceDescriptor descriptor, WorkPool pool) {
    super(descriptor);
    this.pool = pool;
  }

  @Override
  public Support supports(OperationSpec<?> spec) {
    return switch (spec) {
      case MobaAttentionSpec moba -> CpuMoba.supports(moba);
      case MoeDispatchSpec moe -> CpuMoe.supports(moe);
      case CausalConv1dSpec conv -> CpuConv1d.supports(conv);
      default -> Support.no("cpu does not know the operation " + spec.operation());
    };
  }

  @Override
  public BackendKernel prepare(OperationSpec<?> spec) {
    return switch (spec) {
      case MobaAttentionSpec moba -> new CpuMoba(moba, pool);
      case MoeDispatchSpec moe -> new CpuMoe(moe, pool);
      case CausalConv1dSpec conv -> new CpuConv1d(conv, pool);
      default -> throw new IllegalArgumentException("unsupported: " + spec);
    };
  }

  @Override
  public void close() {
    pool.close();
  }
}
