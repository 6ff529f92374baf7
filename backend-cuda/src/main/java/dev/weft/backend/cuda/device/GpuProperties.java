package dev.weft.backend.cuda.device;

import dev.weft.backend.cuda.driver.Status;
import dev.weft.spi.DeviceDescriptor;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.JCudaDriver;

/**
 * What the driver says of a GPU.
 *
 * @param name the marketing name
 * @param major the compute capability's first digit
 * @param minor its second
 * @param multiprocessors how many
 * @param memoryBytes device memory
 * @param sharedBytesOptIn the most shared memory of a block
 * @param l2Bytes second-level cache
 */
public record GpuProperties(
    String name,
    int major,
    int minor,
    int multiprocessors,
    long memoryBytes,
    int sharedBytesOptIn,
    int l2Bytes) {
  /** The oldest compute capability that any image is built for. */
  public static final int OLDEST_MAJOR = 8;

  /** Asks the driver; needs no context. */
  public static GpuProperties of(CUdevice device) {
    byte[] name = new byte[256];
    Status.check("cuDeviceGetName", JCudaDriver.cuDeviceGetName(name, name.length, device));
    int length = 0;
    while (length < name.length && name[length] != 0) {
      length++;
    }
    long[] memory = new long[1];
    Status.check("cuDeviceTotalMem", JCudaDriver.cuDeviceTotalMem(memory, device));
    return new GpuProperties(
        new String(name, 0, length, StandardCharsets.UTF_8),
        attribute(device, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
        attribute(device, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        attribute(device, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
        memory[0],
        attribute(device, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
        attribute(device, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE));
  }

  private static int attribute(CUdevice device, int attribute) {
    int[] value = new int[1];
    Status.check(
        "cuDeviceGetAttribute", JCudaDriver.cuDeviceGetAttribute(value, attribute, device));
    return value[0];
  }

  /** Whether there is code for it. */
  public boolean isUsable() {
    return major >= OLDEST_MAJOR;
  }

  /** Such as 9.0. */
  public String computeCapability() {
    return major + "." + minor;
  }

  /** Starts the descriptor. */
  public DeviceDescriptor.Builder descriptor(int index, String driverVersion) {
    return DeviceDescriptor.builder(index, name, DeviceDescriptor.Kind.GPU)
        .vendor("NVIDIA")
        .driver("CUDA " + driverVersion)
        .memoryBytes(memoryBytes)
        .computeUnits(multiprocessors)
        .graphs(true)
        .feature("compute capability", computeCapability())
        .feature(
            "shared memory per block",
            String.format(Locale.ROOT, "%d KiB", sharedBytesOptIn / 1024))
        .feature("L2", String.format(Locale.ROOT, "%.1f MiB", l2Bytes / 1048576.0));
  }
}
