package dev.weft.backend.cpu.parallel;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.HostDevice;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.HostCeilings;
import java.util.Optional;

/**
 * The device of the backend {@code cpu}: its kernels share one pool of threads and one arithmetic.
 */
public final class CpuDevice extends HostDevice {
  private final Compute compute;

  /**
   * Opens the device.
   *
   * @param descriptor what the provider's probe said
   * @param pool the threads, closed with the device
   * @param arithmetic vectors or plain loops
   */
  public CpuDevice(DeviceDescriptor descriptor, WorkPool pool, Arithmetic arithmetic) {
    super(descriptor, pool);
    compute = new Compute(pool, arithmetic);
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
      case MobaAttentionSpec moba -> new CpuMoba(moba, compute);
      case MoeDispatchSpec moe -> new CpuMoe(moe, compute);
      case CausalConv1dSpec conv -> new CpuConv1d(conv, compute);
      default -> throw new IllegalArgumentException("unsupported: " + spec);
    };
  }

  @Override
  public <T> Optional<T> extension(Class<T> type) {
    return type == HostCeilings.class
        ? Optional.of(type.cast(new MeasuredCeilings(compute)))
        : Optional.empty();
  }

  @Override
  public void close() {
    compute.close();
  }
}
