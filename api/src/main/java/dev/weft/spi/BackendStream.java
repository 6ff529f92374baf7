package dev.weft.spi;

import java.lang.foreign.MemorySegment;

/**
 * An in-order queue of work. Every method but {@link #synchronize()} and {@link #close()} enqueues
 * and returns. One thread at a time calls it. A fault of earlier work is thrown, once, by the next
 * {@link #synchronize()} or {@link BackendEvent#synchronize()} that covers it, as a {@link
 * dev.weft.DeviceException} or {@link dev.weft.DeviceLostException}; the stream is usable
 * afterwards unless the device is lost. Asking {@link BackendEvent#isComplete()} does not use a
 * fault up.
 *
 * <p>A user's wait is a {@link #record()} and a wait for that event, so that other threads go on
 * enqueuing meanwhile. {@link #synchronize()} drains, before the stream is closed or when memory
 * has run out.
 */
public interface BackendStream extends AutoCloseable {
  /**
   * Copies from the host to the device.
   *
   * @param source native memory that lives until the copy is done
   * @param target device memory
   * @param targetOffset byte offset in the target
   */
  void upload(MemorySegment source, BackendMemory target, long targetOffset);

  /**
   * Copies from the device to the host.
   *
   * @param source device memory
   * @param sourceOffset byte offset in the source
   * @param target native memory that lives until the copy is done; its size is the copy's
   */
  void download(BackendMemory source, long sourceOffset, MemorySegment target);

  /**
   * Copies within the device; source and target do not overlap.
   *
   * @param source device memory
   * @param sourceOffset byte offset in the source
   * @param target device memory
   * @param targetOffset byte offset in the target
   * @param bytes the copy's size
   */
  void copy(
      BackendMemory source, long sourceOffset, BackendMemory target, long targetOffset, long bytes);

  /**
   * Fills memory with a byte.
   *
   * @param target device memory
   * @param targetOffset byte offset in the target
   * @param bytes how many bytes
   * @param value the byte
   */
  void fill(BackendMemory target, long targetOffset, long bytes, byte value);

  /**
   * Marks this point of the queue.
   *
   * @return an event that completes when all earlier work has
   */
  BackendEvent record();

  /**
   * Makes later work of this stream wait, on the device, for an event of any stream of the device.
   *
   * @param event the event
   */
  void await(BackendEvent event);

  /** Waits until all work is done; throws the fault of any. */
  void synchronize();

  /**
   * Starts a capture: work is recorded, not done. Called only if {@link DeviceDescriptor#graphs()}.
   */
  default void beginCapture() {
    throw new UnsupportedOperationException("no graphs");
  }

  /**
   * Ends the capture.
   *
   * @return what was recorded since {@link #beginCapture()}
   */
  default BackendGraph endCapture() {
    throw new UnsupportedOperationException("no graphs");
  }

  /**
   * Tells whether someone outside Weft has begun a capture on the native stream that this wraps.
   *
   * @return true while work is being recorded by such a capture
   */
  default boolean isCapturedByCaller() {
    return false;
  }

  /**
   * Enqueues everything that a graph recorded.
   *
   * @param graph a graph of this device
   */
  default void launch(BackendGraph graph) {
    throw new UnsupportedOperationException("no graphs");
  }

  /** Releases the stream; it has been synchronised. A wrapped native stream stays its owner's. */
  @Override
  void close();
}
