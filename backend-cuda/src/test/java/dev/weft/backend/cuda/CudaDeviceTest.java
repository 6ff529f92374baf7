package dev.weft.backend.cuda;

import dev.weft.gpu.fixtures.BackendDeviceContract;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendStream;

/** The runtime on the GPU of this machine; skipped, with the reason, where there is none. */
class CudaDeviceTest extends BackendDeviceContract<BackendDevice, BackendStream> {
  @Override
  protected BackendDevice open() {
    CudaProvider provider = new CudaProvider();
    PresentDevice.assumed(provider);
    return PresentDevice.open(provider);
  }

  @Override
  protected Class<BackendStream> streams() {
    return BackendStream.class;
  }
}
