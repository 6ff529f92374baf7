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
    device().checkUsable();
    lifetime.pin(); // another thread may close the event meanwhile
    try {
      return device().guard("BackendEvent.isComplete", backend::isComplete);
    } finally {
      lifetime.unpin();
    }
  }

  /**
   * Waits until all work before the event is done. Like a wait for the stream: fills the heap
   * segments of downloads enqueued before the event.
   *
   * @throws DeviceException if any of it failed
   */
  public void synchronize() {
    device().checkUsable();
    lifetime.pin();
    try {
      stream.await(backend, sequence);
    } finally {
      lifetime.unpin();
    }
  }

  /**
   * Measures device time.
   *
   * @param start an earlier event of the same device; both complete
   * @return nanoseconds from start to this
   */
  public double nanosSince(Event start) {
    device().checkUsable();
    if (start.device() != device()) {
      throw new IllegalArgumentException(
          "nanosSince: the events are of "
              + start.device().info().selector()
              + " and "
              + device().info().selector());
    }
    lifetime.pin();
    try {
      start.lifetime.pin();
      try {
        return device().guard("BackendEvent.nanosSince", () -> backend.nanosSince(start.backend));
      } finally {
        start.lifetime.unpin();
      }
    } finally {
      lifetime.unpin();
    }
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
