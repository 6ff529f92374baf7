package dev.weft.spi;

/** A recorded sequence of work, ready to be launched again and again. */
public interface BackendGraph extends AutoCloseable {
  /** Releases the graph; no launch of it is in flight. */
  @Override
  void close();
}
