package dev.weft.cli.bench;

import dev.weft.DataType;
import dev.weft.Device;

/**
 * A shape with a name.
 *
 * @param name such as {@code moba/forward/32768,16,128,512,8}
 * @param small whether it takes a CPU no longer than a moment; these are measured by default
 * @param elements how many elements its tensors hold, roughly
 * @param factory makes it
 */
public record Preset(String name, boolean small, long elements, Factory factory) {
  /** Makes a workload. */
  @FunctionalInterface
  public interface Factory {
    /**
     * Allocates tensors and prepares the kernel.
     *
     * @param device an open device
     * @param type the storage type
     * @return the workload, to be closed
     */
    Workload create(Device device, DataType type);
  }

  /**
   * Allocates tensors and prepares the kernel.
   *
   * @param device an open device
   * @param type the storage type
   * @return the workload, to be closed
   * @throws IllegalArgumentException if the device has not got the memory
   */
  public Workload create(Device device, DataType type) {
    long needed = elements * type.bytes();
    long memory = device.info().descriptor().memoryBytes();
    if (memory > 0 && needed > memory - memory / 8) {
      throw new IllegalArgumentException(
          name
              + ": expected a device with memory for about "
              + (needed >> 20)
              + " MiB of tensors, but "
              + device.info()
              + " has "
              + (memory >> 20)
              + " MiB");
    }
    return factory.create(device, type);
  }
}
