package dev.weft.backend.vulkan;

import dev.weft.BackendUnavailableException;
import dev.weft.DeviceOptions;
import dev.weft.WeftException;
import dev.weft.backend.vulkan.device.VulkanDevice;
import dev.weft.backend.vulkan.driver.DeviceProperties;
import dev.weft.backend.vulkan.driver.NotUsableException;
import dev.weft.backend.vulkan.driver.Vulkan;
import dev.weft.backend.vulkan.shaders.PipelineCacheFile;
import dev.weft.backend.vulkan.shaders.ShaderLibrary;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.ArrayList;
import java.util.List;

/** Every Vulkan 1.2 device of every driver, GPUs first. Needs a loader and a driver. */
public final class VulkanProvider implements KernelProvider {
  /** Below provider opencl: its kernels are the faster ones where both are there. */
  private static final int PORTABLE_GPU = 90;

  /** Below provider cpu, which has the same number and comes first by its id. */
  private static final int CPU_ONLY = 0;

  /** Made by {@link java.util.ServiceLoader}; does nothing. */
  public VulkanProvider() {}

  @Override
  public String id() {
    return "vulkan";
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
    try (Vulkan vulkan = Vulkan.open()) {
      List<DeviceDescriptor> devices = new ArrayList<>();
      for (DeviceProperties properties : vulkan.devices()) {
        devices.add(properties.descriptor(devices.size()));
      }
      return new Probe.Available(devices);
    } catch (NotUsableException e) {
      return new Probe.Unavailable(String.valueOf(e.getMessage()), e.remedy(), e.getCause());
    } catch (WeftException e) {
      return new Probe.Unavailable(String.valueOf(e.getMessage()), "check what vulkaninfo says", e);
    }
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    for (String property : options.properties().keySet()) {
      throw new IllegalArgumentException(
          "vulkan: unknown property '" + property + "'; it knows none");
    }
    try {
      Vulkan vulkan = Vulkan.open();
      try {
        if (device.index() >= vulkan.devices().size()) {
          throw new BackendUnavailableException(
              "vulkan: there is no device "
                  + device.index()
                  + " any more; check what vulkaninfo says",
              null);
        }
        DeviceProperties properties = vulkan.devices().get(device.index());
        return VulkanDevice.open(
            new VulkanOperations(),
            vulkan,
            properties,
            device.index(),
            ShaderLibrary.ofBackend(),
            PipelineCacheFile.ofUser(properties));
      } catch (Throwable t) {
        vulkan.close();
        throw t;
      }
    } catch (NotUsableException e) {
      throw new BackendUnavailableException("vulkan: " + e.getMessage() + "; " + e.remedy(), e);
    }
  }
}
