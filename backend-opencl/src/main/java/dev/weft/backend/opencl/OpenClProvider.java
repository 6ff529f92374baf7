package dev.weft.backend.opencl;

import dev.weft.BackendUnavailableException;
import dev.weft.DeviceOptions;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;

/** Every OpenCL 1.2 device. Needs an ICD loader and a driver. */
public final class OpenClProvider implements KernelProvider {
  /** Made by {@link java.util.ServiceLoader}; does nothing. */
  public OpenClProvider() {}

  @Override
  public String id() {
    return "opencl";
  }

  @Override
  public SpiVersion spiVersion() {
    return new SpiVersion(1, 0);
  }

  @Override
  public int priority() {
    return 100;
  }

  @Override
  public Probe probe() {
    return new Probe.Unavailable(
        "the OpenCL backend has no runtime yet", "use another backend", null);
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    throw new BackendUnavailableException("opencl: " + device + " cannot be opened yet", null);
  }
}
