package dev.weft.backend.cpu;

import dev.weft.DeviceOptions;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.HostMachine;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.backend.cpu.parallel.CpuDevice;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.List;

/** The backend {@code cpu}: float32 arithmetic on all cores. */
public final class CpuProvider implements KernelProvider {
  /** Does nothing, as the service requires. */
  public CpuProvider() {}

  @Override
  public String id() {
    return "cpu";
  }

  @Override
  public SpiVersion spiVersion() {
    return new SpiVersion(1, 0);
  }

  @Override
  public int priority() {
    return 0;
  }

  @Override
  public Probe probe() {
    return new Probe.Available(
        List.of(
            HostMachine.describe()
                .feature("arithmetic", "float32")
                .feature("vector", Arithmetic.ofThisMachine().description())
                .build()));
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    HostMachine.refuseProperties(id(), options);
    int threads = options.threads() == 0 ? HostMachine.cores() : options.threads();
    return new CpuDevice(device, new WorkPool(threads), Arithmetic.ofThisMachine());
  }
}
