package dev.weft.backend.opencl;

import dev.weft.DeviceOptions;
import dev.weft.backend.opencl.device.OpenClDevice;
import dev.weft.backend.opencl.driver.DeviceProperties;
import dev.weft.backend.opencl.driver.OpenCl;
import dev.weft.backend.opencl.programs.ProgramCache;
import dev.weft.gpu.GpuProvider;
import dev.weft.gpu.NotUsableException;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import java.util.ArrayList;
import java.util.List;

/**
 * Every OpenCL 1.2 device of every platform, GPUs first. Needs an ICD loader and a driver with a
 * compiler.
 */
public final class OpenClProvider extends GpuProvider {
  private static final int PORTABLE_GPU = 100;

  /** Made by {@link java.util.ServiceLoader}; does nothing. */
  public OpenClProvider() {
    super("opencl", PORTABLE_GPU, "check what clinfo says");
  }

  @Override
  protected List<DeviceDescriptor> devices() throws NotUsableException {
    List<DeviceDescriptor> devices = new ArrayList<>();
    for (DeviceProperties properties : OpenCl.load().devices()) {
      devices.add(properties.descriptor(devices.size()).build());
    }
    return devices;
  }

  @Override
  protected BackendDevice open(int index, DeviceOptions options) throws NotUsableException {
    refuseProperties(options);
    OpenCl openCl = OpenCl.load();
    if (index >= openCl.devices().size()) {
      throw gone(index);
    }
    DeviceProperties properties = openCl.devices().get(index);
    return new OpenClDevice(
        properties, index, openCl.calls(), ProgramCache.ofUser(properties.keepsPrograms()));
  }
}
