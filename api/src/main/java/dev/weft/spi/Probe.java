package dev.weft.spi;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** What {@link KernelProvider#probe()} found. */
public sealed interface Probe {
  /**
   * Devices were found.
   *
   * @param devices at least one, in the order of their indices
   */
  record Available(List<DeviceDescriptor> devices) implements Probe {
    /** Copies the list. */
    public Available {
      devices = List.copyOf(devices);
      if (devices.isEmpty()) {
        throw new IllegalArgumentException(
            "probe: Available needs a device; return Unavailable with a reason instead");
      }
    }
  }

  /**
   * The backend cannot work here.
   *
   * @param reason what is missing, such as {@code libcuda.so.1 was not found}
   * @param remedy what the user can do about it
   * @param cause the underlying failure, or null
   */
  record Unavailable(String reason, String remedy, @Nullable Throwable cause) implements Probe {}
}
