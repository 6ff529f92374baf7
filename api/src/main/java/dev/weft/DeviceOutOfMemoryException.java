package dev.weft;

import java.io.Serial;

/** Device memory did not suffice. The device stays usable. All sizes are bytes. */
public final class DeviceOutOfMemoryException extends WeftException {
  @Serial private static final long serialVersionUID = 1;

  private final String what;
  private final long needed;
  private final long free;
  private final long limit;

  /**
   * Creates an exception.
   *
   * @param what what the memory was for, such as {@code tensor bf16[8192, 32, 128]}
   * @param needed bytes asked for
   * @param free bytes that were free, or -1 where the device does not tell
   * @param limit the limit in force (of the device, or {@link DeviceOptions#memoryLimit()})
   */
  public DeviceOutOfMemoryException(String what, long needed, long free, long limit) {
    this(what, "", needed, free, limit);
  }

  private DeviceOutOfMemoryException(
      String what, String memory, long needed, long free, long limit) {
    super(
        what
            + ": needs "
            + needed
            + " bytes"
            + memory
            + ", but "
            + (free < 0 ? "an unknown number" : Long.toString(free))
            + " of "
            + limit
            + " are free; close tensors, call Device.trim(), or raise DeviceOptions.memoryLimit",
        null);
    this.what = what;
    this.needed = needed;
    this.free = free;
    this.limit = limit;
  }

  /** The same of what the user asked for; what the backend says of its memory stays. */
  DeviceOutOfMemoryException askedFor(String purpose, long bytes) {
    if (needed < 0) {
      return this; // what the driver lacked was memory for itself
    }
    return new DeviceOutOfMemoryException(purpose, " of " + what, bytes, free, limit);
  }

  /**
   * Creates an exception for what a driver allocates by itself, such as a context.
   *
   * @param call the call that failed, and what it returned
   */
  public DeviceOutOfMemoryException(String call) {
    super(call + "; close tensors, call Device.trim(), or see who else uses the device", null);
    this.what = call;
    this.needed = -1;
    this.free = -1;
    this.limit = -1;
  }

  /**
   * Returns the request.
   *
   * @return bytes asked for, or -1 where a driver allocated for itself and does not tell
   */
  public long needed() {
    return needed;
  }

  /**
   * Returns what was left.
   *
   * @return free bytes, or -1 if unknown
   */
  public long free() {
    return free;
  }

  /**
   * Returns the limit in force.
   *
   * @return bytes, or -1 if unknown
   */
  public long limit() {
    return limit;
  }
}
