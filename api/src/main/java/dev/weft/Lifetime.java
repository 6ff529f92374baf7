package dev.weft;

import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Decides when something that launches name may be released: after close(), once the last launch
 * that names it is done and no graph keeps it. Nothing here waits. Thread-safe.
 *
 * <p>A launch costs one map update. Only closing something that was used and not waited for records
 * an event, one per stream that used it.
 */
final class Lifetime {
  private final Device device;
  private final String what;
  private final Runnable release;
  private final Map<Stream, Long> uses = new HashMap<>();
  private final AtomicBoolean released = new AtomicBoolean();
  private int pins;
  private boolean closed;

  Lifetime(Device device, String what, Runnable release) {
    this.device = device;
    this.what = what;
    this.release = release;
  }

  String what() {
    return what;
  }

  synchronized boolean isClosed() {
    return closed;
  }

  void checkOpen() {
    if (isClosed()) {
      throw new IllegalStateException(what + " is closed; use it before close()");
    }
  }

  /**
   * Notes a use by the launch with the given sequence number on a stream.
   *
   * @throws IllegalStateException if the thing is closed
   */
  synchronized void use(Stream stream, long sequence) {
    if (closed) {
      checkOpen();
    }
    uses.merge(stream, sequence, Math::max);
  }

  /**
   * Keeps the thing for a graph, even when it is closed later.
   *
   * @throws IllegalStateException if the thing is closed already
   */
  synchronized void pin() {
    if (closed) {
      checkOpen();
    }
    pins++;
  }

  void unpin() {
    boolean due;
    synchronized (this) {
      pins--;
      due = closed && pins == 0;
    }
    if (due) {
      device.reaper.add(this);
    }
  }

  void close() {
    boolean due;
    synchronized (this) {
      if (closed) {
        return;
      }
      closed = true;
      due = pins == 0;
    }
    device.forget(this);
    if (due) {
      device.reaper.add(this);
    }
  }

  /** Releases if every use is done; true once released. Called by the reaper. */
  boolean tryRelease() {
    synchronized (this) {
      Iterator<Map.Entry<Stream, Long>> it = uses.entrySet().iterator();
      while (it.hasNext()) {
        Map.Entry<Stream, Long> use = it.next();
        if (use.getKey().hasCompleted(use.getValue())) {
          it.remove();
        }
      }
      if (!uses.isEmpty()) {
        return false;
      }
    }
    releaseNow();
    return true;
  }

  /**
   * Releases at once: nothing uses it. What the backend throws must not hit whoever happens to
   * cause the release: the device tells it when it is closed.
   */
  void releaseNow() {
    if (released.compareAndSet(false, true)) {
      synchronized (this) {
        closed = true;
      }
      device.release(what, release);
    }
  }
}
