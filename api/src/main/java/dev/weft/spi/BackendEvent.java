package dev.weft.spi;

/** A point in a stream's queue. May be used from any thread. */
public interface BackendEvent extends AutoCloseable {
  /**
   * Tells whether all work before the event is done. Never throws a fault of that work.
   *
   * @return true once it is done, or has failed
   */
  boolean isComplete();

  /** Waits until all work before the event is done; throws the fault of any. */
  void synchronize();

  /**
   * Measures device time between two complete events of one device.
   *
   * @param start the earlier event
   * @return nanoseconds from start to this
   */
  double nanosSince(BackendEvent start);

  /** Releases the event. */
  @Override
  void close();
}
