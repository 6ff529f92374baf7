package dev.weft.backend.vulkan;

import dev.weft.Device;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.gpu.fixtures.WrappedMemoryContract;
import dev.weft.interop.VulkanInterop;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.KernelProvider;

class VulkanWrappedMemoryTest extends WrappedMemoryContract {
  @Override
  protected KernelProvider provider() {
    VulkanProvider provider = new VulkanProvider();
    PresentDevice.required(provider);
    return provider;
  }

  @Override
  protected BackendMemory part(Device device, BackendMemory memory, long offset, long bytes) {
    VulkanInterop interop = device.extension(VulkanInterop.class).orElseThrow();
    return interop.wrapMemory(interop.buffer(memory), offset, bytes);
  }
}
