package dev.weft.backend.cpu;

import dev.weft.DeviceOptions;
import dev.weft.backend.cpu.host.HostMachine;
import dev.weft.backend.cpu.reference.ReferenceDevice;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.List;

/**
 * The backend {@code reference}: plain loops with float64 accumulation, the oracle of the
 * conformance suite. Never chosen automatically.
 */
public final class ReferenceProvider implements KernelProvider {
  /** Does nothing, as the service requires. */
  public ReferenceProvider() {}

  @Override
  public String id() {
    return "reference";
  }

  @Override
  public SpiVersion spiVersion() {
    return new SpiVersion(1, 0);
  }

  @Override
  public int priority() {
    return -1;
  }

  @Override
  public Probe probe() {
    return new Probe.Available(
        List.of(
            HostMachine.describe()
                .feature("arithmetic", "plain loops, float64 accumulation")
                .build()));
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    HostMachine.refuseProperties(id(), options);
    return new ReferenceDevice(device);
  }
}
