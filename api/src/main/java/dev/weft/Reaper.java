package dev.weft;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;

/** Holds closed things until the launches that name them are done. Thread-safe. */
final class Reaper {
  // Guarded by itself.
  private final List<Lifetime> waiting = new ArrayList<>();
  // Held while candidates are out of the list, so that a thread short of memory waits for them.
  private final ReentrantLock polling = new ReentrantLock();

  void add(Lifetime lifetime) {
    if (!lifetime.tryRelease()) {
      synchronized (waiting) {
        waiting.add(lifetime);
      }
    }
  }

  /** Releases what has become free; returns at once. */
  void poll() {
    if (!isEmpty() && polling.tryLock()) {
      try {
        releaseFree();
      } finally {
        polling.unlock();
      }
    }
  }

  /** Releases what has become free, after a poll of another thread if there is one. */
  void pollFully() {
    polling.lock();
    try {
      releaseFree();
    } finally {
      polling.unlock();
    }
  }

  /** Releases everything: the device has been drained. */
  void releaseAll() {
    polling.lock();
    try {
      take().forEach(Lifetime::releaseNow);
    } finally {
      polling.unlock();
    }
  }

  private void releaseFree() {
    // Outside the list's lock: releasing calls the backend.
    List<Lifetime> candidates = take();
    candidates.removeIf(Lifetime::tryRelease);
    synchronized (waiting) {
      waiting.addAll(candidates);
    }
  }

  private List<Lifetime> take() {
    synchronized (waiting) {
      List<Lifetime> taken = new ArrayList<>(waiting);
      waiting.clear();
      return taken;
    }
  }

  private boolean isEmpty() {
    synchronized (waiting) {
      return waiting.isEmpty();
    }
  }
}
