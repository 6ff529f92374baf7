package dev.weft.spi;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/** What a provider says of one of its devices. Immutable; made by {@link #builder}. */
public final class DeviceDescriptor {
  private final int index;
  private final String name;
  private final Kind kind;
  private final String vendor;
  private final String driver;
  private final long memoryBytes;
  private final int computeUnits;
  private final boolean graphs;
  private final Map<String, String> features;

  private DeviceDescriptor(Builder builder) {
    index = builder.index;
    name = builder.name;
    kind = builder.kind;
    vendor = builder.vendor;
    driver = builder.driver;
    memoryBytes = builder.memoryBytes;
    computeUnits = builder.computeUnits;
    graphs = builder.graphs;
    features = Collections.unmodifiableMap(new LinkedHashMap<>(builder.features));
  }

  /** What sort of device it is. */
  public enum Kind {
    /** A processor that shares the host's memory and instruction set. */
    CPU,
    /** A graphics processor. */
    GPU,
    /** Anything else. */
    OTHER
  }

  /**
   * Starts a descriptor.
   *
   * @param index the device's number at its provider, from 0
   * @param name the device's name as its vendor gives it
   * @param kind what sort of device it is
   * @return a builder
   */
  public static Builder builder(int index, String name, Kind kind) {
    return new Builder(index, name, kind);
  }

  /**
   * Returns the device's number at its provider.
   *
   * @return from 0
   */
  public int index() {
    return index;
  }

  /**
   * Returns the device's name.
   *
   * @return as its vendor gives it
   */
  public String name() {
    return name;
  }

  /**
   * Returns what sort of device it is.
   *
   * @return the kind
   */
  public Kind kind() {
    return kind;
  }

  /**
   * Returns the device's vendor.
   *
   * @return a name, or an empty text
   */
  public String vendor() {
    return vendor;
  }

  /**
   * Returns the driver or runtime and its version.
   *
   * @return a text, or an empty one
   */
  public String driver() {
    return driver;
  }

  /**
   * Returns the size of the device's memory.
   *
   * @return bytes, or 0 if unknown
   */
  public long memoryBytes() {
    return memoryBytes;
  }

  /**
   * Returns the number of cores, multiprocessors or compute units.
   *
   * @return the number, or 0 if unknown
   */
  public int computeUnits() {
    return computeUnits;
  }

  /**
   * Tells whether streams of this device can be captured into graphs.
   *
   * @return true if they can
   */
  public boolean graphs() {
    return graphs;
  }

  /**
   * Returns what else is worth knowing, such as the active code path.
   *
   * @return feature names and values, in the provider's order
   */
  public Map<String, String> features() {
    return features;
  }

  @Override
  public String toString() {
    return index + ": " + name;
  }

  /** Builds a {@link DeviceDescriptor}. */
  public static final class Builder {
    private final int index;
    private final String name;
    private final Kind kind;
    private String vendor = "";
    private String driver = "";
    private long memoryBytes;
    private int computeUnits;
    private boolean graphs;
    private final Map<String, String> features = new LinkedHashMap<>();

    private Builder(int index, String name, Kind kind) {
      this.index = index;
      this.name = name;
      this.kind = kind;
    }

    /**
     * Sets the vendor.
     *
     * @param vendor its name
     * @return this
     */
    public Builder vendor(String vendor) {
      this.vendor = vendor;
      return this;
    }

    /**
     * Sets the driver.
     *
     * @param driver its name and version
     * @return this
     */
    public Builder driver(String driver) {
      this.driver = driver;
      return this;
    }

    /**
     * Sets the memory's size.
     *
     * @param memoryBytes bytes
     * @return this
     */
    public Builder memoryBytes(long memoryBytes) {
      this.memoryBytes = memoryBytes;
      return this;
    }

    /**
     * Sets the number of compute units.
     *
     * @param computeUnits cores, multiprocessors or compute units
     * @return this
     */
    public Builder computeUnits(int computeUnits) {
      this.computeUnits = computeUnits;
      return this;
    }

    /**
     * Says whether streams can be captured.
     *
     * @param graphs true if they can
     * @return this
     */
    public Builder graphs(boolean graphs) {
      this.graphs = graphs;
      return this;
    }

    /**
     * Adds a feature.
     *
     * @param name what it is, such as {@code vector}
     * @param value its value, such as {@code 512 bit}
     * @return this
     */
    public Builder feature(String name, String value) {
      features.put(name, value);
      return this;
    }

    /**
     * Makes the descriptor.
     *
     * @return an immutable descriptor
     */
    public DeviceDescriptor build() {
      return new DeviceDescriptor(this);
    }
  }
}
