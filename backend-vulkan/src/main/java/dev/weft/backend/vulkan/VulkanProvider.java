package dev.weft.backend.vulkan;

import dev.weft.DeviceOptions;
import dev.weft.backend.vulkan.device.VulkanDevice;
import dev.weft.backend.vulkan.driver.DeviceProperties;
import dev.weft.backend.vulkan.driver.Vulkan;
import dev.weft.backend.vulkan.shaders.PipelineCacheFile;
import dev.weft.backend.vulkan.shaders.ShaderLibrary;
import dev.weft.gpu.GpuProvider;
import dev.weft.gpu.NotUsableException;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import java.util.ArrayList;
import java.util.List;

/**
 * Every Vulkan 1.2 device of every driver, GPUs first. Needs a loader and a driver.
 *
 * <p>System properties: {@code weft.vulkan.validation=true} turns the validation layer on, {@code
 * weft.vulkan.cache} names the folder of compiled pipelines ({@code off} for none), {@code
 * weft.vulkan.matrix=plain} leaves cooperative matrices unused.
 */
public final class VulkanProvider extends GpuProvider {
  /** Below provider opencl: its kernels are the faster ones where both are there. */
  private static final int PORTABLE_GPU = 90;

  /** Made by {@link java.util.ServiceLoader}; does nothing. */
  public VulkanProvider() {
    super("vulkan", PORTABLE_GPU, "check what vulkaninfo says");
  }

  @Override
  protected List<DeviceDescriptor> devices() throws NotUsableException {
    try (Vulkan vulkan = Vulkan.open()) {
      List<DeviceDescriptor> devices = new ArrayList<>();
      for (DeviceProperties properties : vulkan.devices()) {
        devices.add(properties.descriptor(devices.size()));
      }
      return devices;
    }
  }

  @Override
  protected BackendDevice open(int index, DeviceOptions options) throws NotUsableException {
    refuseProperties(options);
    Vulkan vulkan = Vulkan.open();
    try {
      if (index >= vulkan.devices().size()) {
        throw gone(index);
      }
      DeviceProperties properties = vulkan.devices().get(index);
      return VulkanDevice.open(
          vulkan,
          properties,
          index,
          ShaderLibrary.ofBackend(),
          PipelineCacheFile.ofUser(properties));
    } catch (Throwable t) {
      vulkan.close();
      throw t;
    }
  }
}
