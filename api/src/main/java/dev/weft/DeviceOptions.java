package dev.weft;

import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;

/** How a device is opened. Immutable; made by {@link #builder()}. */
public final class DeviceOptions {
  private final long memoryLimit;
  private final boolean synchronous;
  private final boolean validate;
  private final int threads;
  private final Map<String, String> properties;

  private DeviceOptions(Builder builder) {
    memoryLimit = builder.memoryLimit;
    synchronous = builder.synchronous;
    validate = builder.validate;
    threads = builder.threads;
    properties = Collections.unmodifiableMap(new TreeMap<>(builder.properties));
  }

  /**
   * The options in force when none are given: no limit, asynchronous, values on the device
   * validated iff the system property {@code weft.validate} is {@code true}.
   *
   * @return the defaults
   */
  public static DeviceOptions defaults() {
    return builder().build();
  }

  /**
   * Starts from the defaults.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns how much device memory may be live at once.
   *
   * @return bytes; 0 for no limit but the device's
   */
  public long memoryLimit() {
    return memoryLimit;
  }

  /**
   * Tells whether every launch is waited for, which finds the launch at fault.
   *
   * @return true to wait after each
   */
  public boolean synchronous() {
    return synchronous;
  }

  /**
   * Tells whether lengths, ids, slots and pages on the device are checked before each launch, which
   * waits.
   *
   * @return true to check
   */
  public boolean validate() {
    return validate;
  }

  /**
   * Returns the size of the thread pool of a device that computes on the CPU.
   *
   * @return threads; 0 for one per core
   */
  public int threads() {
    return threads;
  }

  /**
   * Returns options that only one provider knows.
   *
   * @return names and values
   */
  public Map<String, String> properties() {
    return properties;
  }

  /** Builds {@link DeviceOptions}. */
  public static final class Builder {
    private long memoryLimit;
    private boolean synchronous;
    private boolean validate = Boolean.getBoolean("weft.validate");
    private int threads;
    private final Map<String, String> properties = new TreeMap<>();

    private Builder() {}

    /**
     * Limits live device memory.
     *
     * @param memoryLimit bytes; 0 for no limit but the device's
     * @return this
     */
    public Builder memoryLimit(long memoryLimit) {
      if (memoryLimit < 0) {
        throw new IllegalArgumentException(
            "memoryLimit: expected at least 0 bytes, but was " + memoryLimit);
      }
      this.memoryLimit = memoryLimit;
      return this;
    }

    /**
     * Waits after every launch.
     *
     * @param synchronous true to wait
     * @return this
     */
    public Builder synchronous(boolean synchronous) {
      this.synchronous = synchronous;
      return this;
    }

    /**
     * Checks values on the device before every launch.
     *
     * @param validate true to check; each launch then waits
     * @return this
     */
    public Builder validate(boolean validate) {
      this.validate = validate;
      return this;
    }

    /**
     * Sets the thread pool's size of CPU devices.
     *
     * @param threads at least 1, or 0 for one per core
     * @return this
     */
    public Builder threads(int threads) {
      if (threads < 0) {
        throw new IllegalArgumentException("threads: expected at least 0, but was " + threads);
      }
      this.threads = threads;
      return this;
    }

    /**
     * Sets an option that only one provider knows.
     *
     * @param name its name
     * @param value its value
     * @return this
     */
    public Builder property(String name, String value) {
      properties.put(name, value);
      return this;
    }

    /**
     * Makes the options.
     *
     * @return immutable options
     */
    public DeviceOptions build() {
      return new DeviceOptions(this);
    }
  }
}
