package dev.weft.spi;

import java.util.OptionalInt;

/** A recorded sequence of work, ready to be launched again and again. */
public interface BackendGraph extends AutoCloseable {
  /**
   * Returns how many pieces of work a launch of the graph gives to the device: kernels, copies and
   * fills. Pure.
   *
   * @return their number, or nothing if the backend does not know
   */
  default OptionalInt nodes() {
    return OptionalInt.empty();
  }

  /** Releases the graph; no launch of it is in flight. */
  @Override
  void close();
}
