package dev.weft;

import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What {@link Weft#discover()} found: every provider with its devices, or why it cannot be used. A
 * snapshot; immutable. {@link #toString()} is readable by people.
 */
public final class DiscoveryReport {
  private final List<Entry> entries;

  DiscoveryReport(List<Entry> entries) {
    this.entries = List.copyOf(entries);
  }

  /**
   * Returns all that was found, in the order of automatic choice, broken providers last.
   *
   * @return the entries
   */
  public List<Entry> entries() {
    return entries;
  }

  /**
   * Finds the usable or unavailable provider of an id; one that was refused is not found.
   *
   * @param id a provider's id
   * @return its entry
   */
  public Optional<Entry> provider(String id) {
    return entries.stream().filter(e -> e.provider != null && e.id.equals(id)).findFirst();
  }

  /**
   * Returns the ids that can be asked for.
   *
   * @return ids in the order of automatic choice
   */
  public List<String> ids() {
    return entries.stream().filter(e -> e.provider != null).map(Entry::id).toList();
  }

  /**
   * Adds providers that an application made itself, which asks each for its devices. One whose id
   * is taken is refused, and the report says so. Never throws.
   *
   * @param providers instances, which need not be on the class path
   * @return a report of these entries and the new ones, in the order of automatic choice
   */
  public DiscoveryReport with(Iterable<? extends KernelProvider> providers) {
    return Discovery.with(entries, providers);
  }

  @Override
  public String toString() {
    if (entries.isEmpty()) {
      return "no provider on the class path; add a weft-backend-* jar";
    }
    StringBuilder text = new StringBuilder();
    for (Entry entry : entries) {
      text.append(entry).append(System.lineSeparator());
    }
    return text.toString().stripTrailing();
  }

  /** One provider. Immutable. */
  public static final class Entry {
    private final String id;
    private final String className;
    private final String location;
    private final @Nullable SpiVersion spiVersion;
    private final int priority;
    private final @Nullable KernelProvider provider;
    private final Probe probe;

    Entry(
        String id,
        String className,
        String location,
        @Nullable SpiVersion spiVersion,
        int priority,
        @Nullable KernelProvider provider,
        Probe probe) {
      this.id = id;
      this.className = className;
      this.location = location;
      this.spiVersion = spiVersion;
      this.priority = priority;
      this.provider = provider;
      this.probe = probe;
    }

    /**
     * Returns the provider's id.
     *
     * @return the id; {@code ?} where the provider broke before it told
     */
    public String id() {
      return id;
    }

    /**
     * Returns the provider's class.
     *
     * @return a class name; {@code ?} where none could be loaded
     */
    public String className() {
      return className;
    }

    /**
     * Returns where the class came from.
     *
     * @return a jar, folder or module; empty if unknown
     */
    public String location() {
      return location;
    }

    /**
     * Returns the SPI version that the provider was written for.
     *
     * @return the version, or null where the provider broke before it told
     */
    public @Nullable SpiVersion spiVersion() {
      return spiVersion;
    }

    /**
     * Returns the rank in automatic choice.
     *
     * @return the priority; negative means never automatically
     */
    public int priority() {
      return priority;
    }

    /**
     * Returns the provider.
     *
     * @return the instance, or null where it was refused or broke
     */
    public @Nullable KernelProvider provider() {
      return provider;
    }

    /**
     * Returns what the provider found.
     *
     * @return devices, or why there is none and what to do
     */
    public Probe probe() {
      return probe;
    }

    /**
     * Returns the devices.
     *
     * @return the devices; empty if unavailable
     */
    public List<DeviceDescriptor> devices() {
      return probe instanceof Probe.Available available ? available.devices() : List.of();
    }

    /**
     * Returns why there is no device.
     *
     * @return reason and remedy; empty if there is one
     */
    public String problem() {
      return probe instanceof Probe.Unavailable unavailable
          ? unavailable.reason() + "; " + unavailable.remedy()
          : "";
    }

    @Override
    public String toString() {
      StringBuilder text = new StringBuilder(id).append(" (").append(className).append("): ");
      if (probe instanceof Probe.Available available) {
        text.append(available.devices());
      } else {
        text.append("unavailable: ").append(problem());
      }
      return text.toString();
    }
  }
}
