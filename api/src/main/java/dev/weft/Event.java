package dev.weft;

import dev.weft.spi.BackendEvent;

/** A point in a stream's queue. Safe for use by several threads; close it when done with. */
public final class Event implements AutoCloseable {
  private final Stream stream;
  private final long sequence;
  private final BackendEvent backend;
  private final Lifetime lifetime;

  Event(Stream stream, long sequence, BackendEvent backend) {
    this.stream = stream;
    this.sequence = sequence;
    this.backend = backend;
    this.lifetime = stream.device().lifetime("event", backend::close);
  }

  /**
   * Tells whether all work before the event is done.
   *
   * @return true once it is done, or has failed
   */
  public boolean isComplete() {
    lifetime.checkOpen();
    device().checkUsable();
    return device().guard("BackendEvent.isComplete", backend::isComplete);
  }

  /**
   * Waits until all work before the event is done.
   *
   * @throws DeviceException if any of it failed
   */
  public void synchronize() {
    lifetime.checkOpen();
    device().checkUsable();
    try {
      device().guard("BackendEvent.synchronize", backend::synchronize);
    } catch (DeviceException e) {
      throw stream.named(e);
    }
    stream.completedThrough(sequence);
  }

  /**
   * Measures device time.
   *
   * @param start an earlier event of the same device; both complete
   * @return nanoseconds from start to this
   */
  public double nanosSince(Event start) {
    lifetime.checkOpen();
    start.lifetime.checkOpen();
    if (start.device() != device()) {
      throw new IllegalArgumentException(
          "nanosSince: the events are of "
              + start.device().info().selector()
              + " and "
              + device().info().selector());
    }
    return device().guard("BackendEvent.nanosSince", () -> backend.nanosSince(start.backend));
  }

  /** Gives the event up. Never waits; closing twice is harmless. */
  @Override
  public void close() {
    lifetime.close();
  }

  Device device() {
    return stream.device();
  }

  BackendEvent backend() {
    return backend;
  }

  Lifetime lifetime() {
    return lifetime;
  }
}
