package dev.weft;

import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.ServiceLoader;
import org.jspecify.annotations.Nullable;

/**
 * The way in: finds backends and opens devices.
 *
 * <p>A device is chosen by the argument of {@link #open(String)}, else the system property {@code
 * weft.backend}, else the environment variable {@code WEFT_BACKEND}, else by the providers'
 * priorities. A choice is {@code ID} or {@code ID:INDEX}, such as {@code opencl} or {@code cuda:1}.
 * A backend chosen by name that fails is an error; otherwise the next is tried, and {@link
 * DeviceInfo#passedOver()} says why. Nothing is cached between calls.
 */
public final class Weft {
  private Weft() {}

  /**
   * Looks for providers with the thread's context class loader (or Weft's own, where there is none)
   * and asks each for its devices, which may load native libraries. Never throws.
   *
   * @return what was found
   */
  public static DiscoveryReport discover() {
    ClassLoader context = Thread.currentThread().getContextClassLoader();
    return discover(context == null ? Weft.class.getClassLoader() : context);
  }

  /**
   * Looks for providers with a class loader.
   *
   * @param loader sees the providers' classes or service files
   * @return what was found
   */
  public static DiscoveryReport discover(@Nullable ClassLoader loader) {
    return Discovery.discover(
        ServiceLoader.load(KernelProvider.class, loader), Discovery.listed(loader));
  }

  /**
   * Looks for providers in a module layer and its parents.
   *
   * @param layer a layer
   * @return what was found
   */
  public static DiscoveryReport discover(ModuleLayer layer) {
    return Discovery.discover(ServiceLoader.load(layer, KernelProvider.class), List.of());
  }

  /**
   * Asks given providers for their devices, without looking for others.
   *
   * @param providers instances, which need not be on the class path
   * @return what they have
   * @see DiscoveryReport#with
   */
  public static DiscoveryReport discover(Iterable<? extends KernelProvider> providers) {
    return new DiscoveryReport(List.of()).with(providers);
  }

  /**
   * Opens the best device, or the one that property or environment name.
   *
   * @return an open device, to be closed
   * @throws BackendUnavailableException saying what was tried, why not, and what to do
   */
  public static Device open() {
    return open(discover(), null, DeviceOptions.defaults());
  }

  /**
   * Opens a device by name.
   *
   * @param choice {@code ID} or {@code ID:INDEX}
   * @return an open device, to be closed
   * @throws IllegalArgumentException listing the known ids, if there is no such one
   * @throws BackendUnavailableException if that backend, or that device of it, is not available
   */
  public static Device open(String choice) {
    return open(discover(), choice, DeviceOptions.defaults());
  }

  /**
   * Opens a device of what was discovered.
   *
   * @param report where to choose from
   * @param choice {@code ID} or {@code ID:INDEX}; null to go by property, environment, priority
   * @param options how to open it
   * @return an open device, to be closed
   * @throws IllegalArgumentException listing the known ids, if there is no such one
   * @throws BackendUnavailableException saying what was tried, why not, and what to do
   */
  public static Device open(
      DiscoveryReport report, @Nullable String choice, DeviceOptions options) {
    return open(
        report, choice, System.getProperty("weft.backend"), System.getenv("WEFT_BACKEND"), options);
  }

  /**
   * Opens a device of a provider instance, which need not be on the class path.
   *
   * @param provider the provider
   * @param selector the device's index, or part of its name in any case; null or empty for the
   *     first
   * @param options how to open it
   * @return an open device, to be closed
   * @throws BackendUnavailableException if the provider or the device is not available
   */
  public static Device open(
      KernelProvider provider, @Nullable String selector, DeviceOptions options) {
    return openEntry(
        Discovery.examine(provider, ""), selector == null ? "" : selector, options, List.of());
  }

  static Device open(
      DiscoveryReport report,
      @Nullable String choice,
      @Nullable String property,
      @Nullable String environment,
      DeviceOptions options) {
    String wanted = choice;
    String by = "the argument";
    if (isBlank(wanted)) {
      wanted = property;
      by = "-Dweft.backend";
    }
    if (isBlank(wanted)) {
      wanted = environment;
      by = "WEFT_BACKEND";
    }
    if (wanted != null && !wanted.isBlank()) {
      String text = wanted.strip();
      int colon = text.indexOf(':');
      String id = colon < 0 ? text : text.substring(0, colon);
      String selector = colon < 0 ? "" : text.substring(colon + 1);
      String source = by;
      DiscoveryReport.Entry entry =
          report
              .provider(id)
              .or(() -> report.entries().stream().filter(e -> e.id().equals(id)).findFirst())
              .orElseThrow(() ->
                  new IllegalArgumentException(
                      "backend '"
                          + id
                          + "' (from "
                          + source
                          + "): expected one of "
                          + report.ids()
                          + brokenOnes(report)
                          + "; add its jar to the class path"));
      return openEntry(entry, selector, options, List.of());
    }
    return openBest(report, options);
  }

  private static Device openBest(DiscoveryReport report, DeviceOptions options) {
    List<String> passedOver = new ArrayList<>();
    Throwable first = null;
    for (DiscoveryReport.Entry entry : report.entries()) {
      if (entry.provider() == null || entry.priority() < 0) {
        continue;
      }
      if (entry.probe() instanceof Probe.Unavailable) {
        passedOver.add(entry.id() + ": " + entry.problem());
        continue;
      }
      try {
        return openEntry(entry, "", options, passedOver);
      } catch (WeftException | IllegalArgumentException e) {
        // IllegalArgumentException: it does not know a property that is meant for another.
        passedOver.add(entry.id() + ": " + e.getMessage());
        first = first == null ? e : first;
      }
    }
    throw new BackendUnavailableException(
        "no backend could be opened: "
            + (passedOver.isEmpty()
                ? "none that may be chosen automatically is on the class path; add a weft-backend-*"
                    + " jar"
                : String.join("; ", passedOver))
            + brokenOnes(report),
        first);
  }

  private static Device openEntry(
      DiscoveryReport.Entry entry,
      String selector,
      DeviceOptions options,
      List<String> passedOver) {
    KernelProvider provider = entry.provider();
    SpiVersion version = entry.spiVersion();
    if (provider == null || version == null || entry.probe() instanceof Probe.Unavailable) {
      Throwable cause = entry.probe() instanceof Probe.Unavailable u ? u.cause() : null;
      throw new BackendUnavailableException(
          "backend '" + entry.id() + "' is not available: " + entry.problem(), cause);
    }
    DeviceDescriptor descriptor = select(entry, selector);
    BackendDevice backend;
    try {
      backend = provider.open(descriptor, options);
    } catch (WeftException | IllegalArgumentException | OutOfMemoryError e) {
      throw e;
    } catch (Throwable t) {
      throw new ProviderException(entry.id(), "open of device " + descriptor, t);
    }
    if (backend == null) {
      throw new ProviderException(
          entry.id(), "open of device " + descriptor, new NullPointerException("it returned null"));
    }
    DeviceDescriptor opened;
    try {
      opened = Objects.requireNonNull(backend.descriptor(), "descriptor() returned null");
    } catch (RuntimeException | LinkageError e) {
      ProviderException failure = new ProviderException(entry.id(), "BackendDevice.descriptor", e);
      try {
        backend.close();
      } catch (RuntimeException | LinkageError closing) {
        failure.addSuppressed(closing);
      }
      throw failure;
    }
    DeviceInfo info = new DeviceInfo(entry.id(), version, opened, passedOver);
    return new Device(backend, info, options);
  }

  private static DeviceDescriptor select(DiscoveryReport.Entry entry, String selector) {
    List<DeviceDescriptor> devices = entry.devices();
    String text = selector.strip();
    for (DeviceDescriptor device : devices) {
      if (text.isEmpty()
          || text.equals(Integer.toString(device.index()))
          || (!text.matches("[0-9]+")
              && device.name().toLowerCase(Locale.ROOT).contains(text.toLowerCase(Locale.ROOT)))) {
        return device;
      }
    }
    throw new BackendUnavailableException(
        "backend '"
            + entry.id()
            + "' has no device '"
            + text
            + "'; expected the index or a part of the name of one of "
            + devices,
        null);
  }

  private static String brokenOnes(DiscoveryReport report) {
    StringBuilder text = new StringBuilder();
    for (DiscoveryReport.Entry entry : report.entries()) {
      if (entry.provider() == null) {
        text.append("; not usable: ")
            .append(entry.id())
            .append(" (")
            .append(entry.className())
            .append("): ")
            .append(entry.problem());
      }
    }
    return text.toString();
  }

  private static boolean isBlank(@Nullable String text) {
    return text == null || text.isBlank();
  }
}
