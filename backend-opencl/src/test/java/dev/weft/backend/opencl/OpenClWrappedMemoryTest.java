package dev.weft.backend.opencl;

import dev.weft.Device;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.gpu.fixtures.WrappedMemoryContract;
import dev.weft.interop.OpenClInterop;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.KernelProvider;

class OpenClWrappedMemoryTest extends WrappedMemoryContract {
  @Override
  protected KernelProvider provider() {
    OpenClProvider provider = new OpenClProvider();
    PresentDevice.required(provider);
    return provider;
  }

  @Override
  protected BackendMemory part(Device device, BackendMemory memory, long offset, long bytes) {
    OpenClInterop interop = device.extension(OpenClInterop.class).orElseThrow();
    return interop.wrapMemory(interop.buffer(memory), offset, bytes);
  }
}
