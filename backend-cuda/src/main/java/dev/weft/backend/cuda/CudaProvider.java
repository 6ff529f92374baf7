package dev.weft.backend.cuda;

import dev.weft.DeviceOptions;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.GpuProperties;
import dev.weft.backend.cuda.driver.Driver;
import dev.weft.backend.cuda.kernels.KernelManifest;
import dev.weft.gpu.GpuProvider;
import dev.weft.gpu.NotUsableException;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * NVIDIA GPUs of compute capability 8.0 and later. Needs the NVIDIA driver and nothing else: the
 * kernels were compiled when this was built.
 *
 * <p>Provider property: {@code image} = {@code auto} (machine code where there is some for the
 * device, else PTX) or {@code ptx}.
 */
public final class CudaProvider extends GpuProvider {
  private static final int NVIDIA_GPU = 200;

  /** Made by {@link java.util.ServiceLoader}; does nothing. */
  public CudaProvider() {
    super("cuda", NVIDIA_GPU, "check nvidia-smi");
  }

  /** A GPU that there are kernels for. */
  private record Gpu(int ordinal, GpuProperties properties) {}

  @Override
  protected List<DeviceDescriptor> devices() throws NotUsableException {
    if (KernelManifest.read().isEmpty()) {
      throw new NotUsableException(
          "the CUDA backend was built without kernels: the build found no nvcc",
          "build Weft where nvcc is installed (WEFT_NVCC, CUDA_HOME or PATH), or use a released"
              + " weft-backend-cuda",
          null);
    }
    Driver driver = Driver.load();
    List<String> tooOld = new ArrayList<>();
    List<Gpu> gpus = gpus(driver, tooOld);
    if (gpus.isEmpty()) {
      throw new NotUsableException(
          tooOld.isEmpty()
              ? "the NVIDIA driver sees no device"
              : "no device of compute capability 8.0 or later, only " + tooOld,
          "check nvidia-smi and CUDA_VISIBLE_DEVICES",
          null);
    }
    List<DeviceDescriptor> devices = new ArrayList<>();
    for (Gpu gpu : gpus) {
      devices.add(gpu.properties.descriptor(devices.size(), driver.version()).build());
    }
    return devices;
  }

  private static List<Gpu> gpus(Driver driver, List<String> tooOld) {
    List<Gpu> gpus = new ArrayList<>();
    for (int i = 0; i < driver.devices(); i++) {
      GpuProperties properties = GpuProperties.of(driver.device(i));
      if (properties.isUsable()) {
        gpus.add(new Gpu(i, properties));
      } else {
        tooOld.add(properties.name() + " (" + properties.computeCapability() + ")");
      }
    }
    return gpus;
  }

  @Override
  protected BackendDevice open(int index, DeviceOptions options) throws NotUsableException {
    boolean ptxOnly = isPtxOnly(options);
    Driver driver = Driver.load();
    List<Gpu> gpus = gpus(driver, new ArrayList<>());
    if (index >= gpus.size()) {
      throw gone(index);
    }
    Gpu gpu = gpus.get(index);
    return new CudaDevice(
        new CudaOperations(),
        driver.device(gpu.ordinal),
        gpu.properties,
        index,
        driver.streamCalls(),
        driver.version(),
        KernelManifest.read(),
        ptxOnly);
  }

  private static boolean isPtxOnly(DeviceOptions options) {
    boolean ptxOnly = false;
    for (Map.Entry<String, String> property : options.properties().entrySet()) {
      if (!property.getKey().equals("image")) {
        throw new IllegalArgumentException(
            "cuda: unknown property '" + property.getKey() + "'; it knows image=auto|ptx");
      }
      ptxOnly =
          switch (property.getValue()) {
            case "auto" -> false;
            case "ptx" -> true;
            default ->
                throw new IllegalArgumentException(
                    "cuda: image: expected auto or ptx, but was '" + property.getValue() + "'");
          };
    }
    return ptxOnly;
  }
}
