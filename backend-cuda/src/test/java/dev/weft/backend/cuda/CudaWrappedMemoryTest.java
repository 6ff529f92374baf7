package dev.weft.backend.cuda;

import dev.weft.Device;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.gpu.fixtures.WrappedMemoryContract;
import dev.weft.interop.CudaInterop;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.KernelProvider;

class CudaWrappedMemoryTest extends WrappedMemoryContract {
  @Override
  protected KernelProvider provider() {
    CudaProvider provider = new CudaProvider();
    PresentDevice.assumed(provider);
    return provider;
  }

  @Override
  protected BackendMemory part(Device device, BackendMemory memory, long offset, long bytes) {
    CudaInterop interop = device.extension(CudaInterop.class).orElseThrow();
    return interop.wrapMemory(interop.pointer(memory) + offset, bytes);
  }
}
