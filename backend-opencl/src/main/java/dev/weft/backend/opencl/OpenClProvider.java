package dev.weft.backend.opencl;

import dev.weft.BackendUnavailableException;
import dev.weft.DeviceOptions;
import dev.weft.WeftException;
import dev.weft.backend.opencl.device.OpenClDevice;
import dev.weft.backend.opencl.driver.DeviceProperties;
import dev.weft.backend.opencl.driver.NotUsableException;
import dev.weft.backend.opencl.driver.OpenCl;
import dev.weft.backend.opencl.programs.ProgramCache;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.ArrayList;
import java.util.List;

/**
 * Every OpenCL 1.2 device of every platform, GPUs first. Needs an ICD loader and a driver with a
 * compiler.
 */
public final class OpenClProvider implements KernelProvider {
  private static final int PORTABLE_GPU = 100;

  /** Below provider cpu, which has the same number and comes first by its id. */
  private static final int CPU_ONLY = 0;

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
    return PORTABLE_GPU;
  }

  @Override
  public int priority(List<DeviceDescriptor> found) {
    return found.getFirst().kind() == DeviceDescriptor.Kind.CPU ? CPU_ONLY : PORTABLE_GPU;
  }

  @Override
  public Probe probe() {
    try {
      List<DeviceDescriptor> devices = new ArrayList<>();
      for (DeviceProperties properties : OpenCl.load().devices()) {
        devices.add(properties.descriptor(devices.size()).build());
      }
      return new Probe.Available(devices);
    } catch (NotUsableException e) {
      return new Probe.Unavailable(String.valueOf(e.getMessage()), e.remedy(), e.getCause());
    } catch (WeftException e) {
      return new Probe.Unavailable(String.valueOf(e.getMessage()), "check what clinfo says", e);
    }
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    for (String property : options.properties().keySet()) {
      throw new IllegalArgumentException(
          "opencl: unknown property '" + property + "'; it knows none");
    }
    try {
      OpenCl openCl = OpenCl.load();
      if (device.index() >= openCl.devices().size()) {
        throw new BackendUnavailableException(
            "opencl: there is no device " + device.index() + " any more; check what clinfo says",
            null);
      }
      DeviceProperties properties = openCl.devices().get(device.index());
      return new OpenClDevice(
          new OpenClOperations(),
          properties,
          device.index(),
          openCl.calls(),
          ProgramCache.ofUser(properties.keepsPrograms()));
    } catch (NotUsableException e) {
      throw new BackendUnavailableException("opencl: " + e.getMessage() + "; " + e.remedy(), e);
    }
  }
}
