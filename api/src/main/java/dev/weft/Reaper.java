package dev.weft;

import java.util.ArrayList;
import java.util.List;

/** Holds closed things until the launches that name them are done. Thread-safe. */
final class Reaper {
  private final List<Lifetime> waiting = new ArrayList<>();

  void add(Lifetime lifetime) {
    if (!lifetime.tryRelease()) {
      synchronized (waiting) {
        waiting.add(lifetime);
      }
    }
  }

  /** Releases what has become free; returns at once. */
  void poll() {
    List<Lifetime> candidates;
    synchronized (waiting) {
      if (waiting.isEmpty()) {
        return;
      }
      candidates = new ArrayList<>(waiting);
      waiting.clear();
    }
    // Outside the lock: releasing calls the backend.
    candidates.removeIf(Lifetime::tryRelease);
    synchronized (waiting) {
      waiting.addAll(candidates);
    }
  }

  /** Releases everything: the device has been drained. */
  void releaseAll() {
    List<Lifetime> all;
    synchronized (waiting) {
      all = new ArrayList<>(waiting);
      waiting.clear();
    }
    all.forEach(Lifetime::releaseNow);
  }

  boolean isEmpty() {
    synchronized (waiting) {
      return waiting.isEmpty();
    }
  }
}
