package dev.weft.guice;

import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.DiscoveryReport;
import dev.weft.Weft;
import dev.weft.spi.DeviceDescriptor;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * The devices that an injector has opened, each when it was first injected. Guice has no lifecycle,
 * so the application closes this, and with it every device:
 *
 * <pre>{@code
 * Injector injector = Guice.createInjector(new WeftModule(), ...);
 * try (OpenDevices devices = injector.getInstance(OpenDevices.class)) {
 *   injector.getInstance(Application.class).run();
 * }
 * }</pre>
 *
 * <p>One per injector. Safe for use by several threads.
 */
public final class OpenDevices implements AutoCloseable {
  private static final String CHOSEN = "";

  private final DiscoveryReport report;
  private final Supplier<@Nullable String> choice;
  private final DeviceOptions options;
  private final Map<String, Device> open = new LinkedHashMap<>();
  private boolean closed;

  OpenDevices(DiscoveryReport report, Supplier<@Nullable String> choice, DeviceOptions options) {
    this.report = report;
    this.choice = choice;
    this.options = options;
  }

  /**
   * Returns the device of the module's choice, or else of property, environment or priority.
   *
   * @return the same device on every call, opened by the first
   * @throws IllegalArgumentException listing the known ids, if there is no such one
   * @throws dev.weft.BackendUnavailableException saying what was tried, why not, and what to do
   * @throws IllegalStateException after {@link #close()}
   */
  public Device chosen() {
    return open(CHOSEN, () -> Weft.open(report, choice.get(), options));
  }

  /**
   * Returns a device by name. It is another one than {@link #chosen()}, even where both stand for
   * the same hardware.
   *
   * @param selector {@code ID} or {@code ID:INDEX}
   * @return the same device on every call, opened by the first
   * @throws IllegalArgumentException listing the known ids, if there is no such one
   * @throws dev.weft.BackendUnavailableException if that backend fails
   * @throws IllegalStateException after {@link #close()}
   */
  public Device backend(String selector) {
    return open(canonical(selector), () -> Weft.open(report, selector, options));
  }

  /** The first device of a backend is one device, with its index or without. */
  private String canonical(String selector) {
    List<DeviceDescriptor> devices =
        report.provider(selector).map(DiscoveryReport.Entry::devices).orElse(List.of());
    return devices.isEmpty() ? selector : selector + ":" + devices.getFirst().index();
  }

  private synchronized Device open(String key, Supplier<Device> opening) {
    if (closed) {
      throw new IllegalStateException("the devices of this injector are closed");
    }
    Device device = open.get(key);
    if (device == null) {
      device = opening.get();
      open.put(key, device);
    }
    return device;
  }

  /**
   * Closes every device that was opened, the youngest first. Twice is harmless.
   *
   * @throws RuntimeException of the first device that could not be closed, once all were tried
   */
  @Override
  public void close() {
    List<Device> devices;
    synchronized (this) {
      closed = true;
      devices = new ArrayList<>(open.values());
      open.clear();
    }
    RuntimeException fault = null;
    for (Device device : devices.reversed()) {
      try {
        device.close();
      } catch (RuntimeException e) {
        if (fault == null) {
          fault = e;
        } else {
          fault.addSuppressed(e);
        }
      }
    }
    if (fault != null) {
      throw fault;
    }
  }
}
