package dev.weft.spi;

import dev.weft.DeviceOptions;
import java.util.List;

/**
 * The service through which a backend is found. Cheap and native-free: a constructor does nothing,
 * and only {@link #probe()} and {@link #open} may load native libraries.
 *
 * <p>Implementations need a public constructor without parameters and must be safe for use by
 * several threads. Every call is guarded: one that throws is reported under the provider's name and
 * hides no other provider.
 */
public interface KernelProvider {
  /**
   * Returns the backend's name, by which users choose it ({@code -Dweft.backend}).
   *
   * @return 1 to 32 characters of {@code [a-z0-9-]}, the same on every call
   */
  String id();

  /**
   * Returns the SPI version that this provider was written for, as a literal.
   *
   * @return for example {@code new SpiVersion(1, 0)}; not {@link SpiVersion#current()}
   */
  SpiVersion spiVersion();

  /**
   * Ranks providers when the user names none: the highest first, ties by id. Bands: 0 to 99 for
   * CPUs, 100 to 199 for portable GPU interfaces, 200 to 299 for a vendor's own; negative for
   * providers that are never chosen automatically.
   *
   * @return the priority
   */
  default int priority() {
    return 0;
  }

  /**
   * Ranks this provider by what {@link #probe()} found, where that matters: a portable GPU
   * interface that found nothing but a CPU belongs among the CPUs. Pure.
   *
   * @param found the devices that {@link #probe()} returned, at least one
   * @return the priority that counts; {@link #priority()} unless overridden
   */
  default int priority(List<DeviceDescriptor> found) {
    return priority();
  }

  /**
   * Looks for devices, and says why there is none where that is so. Must not throw and should take
   * well under a second; may load native libraries and keeps nothing open.
   *
   * @return the devices, or a reason with a remedy
   */
  Probe probe();

  /**
   * Opens a device.
   *
   * @param device one of those that {@link #probe()} returned
   * @param options the user's options; unknown provider properties must be refused with an {@link
   *     IllegalArgumentException}
   * @return the open device, closed by the api
   * @throws dev.weft.BackendUnavailableException if it cannot be opened, with reason and remedy
   */
  BackendDevice open(DeviceDescriptor device, DeviceOptions options);
}
