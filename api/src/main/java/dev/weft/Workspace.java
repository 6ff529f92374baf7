package dev.weft;

import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendMemory;
import org.jspecify.annotations.Nullable;

/**
 * A range of scratch memory. In-order launches of the stream that owns it share it without more
 * ado. A graph that was captured over it may be launched on another stream; from then on every use
 * is ordered behind the last by an event.
 *
 * <p>Locks are taken in one order: a stream's, then this. No thread waits for a second stream's
 * lock while it holds one.
 */
final class Workspace {
  final BackendMemory memory;
  final long offset;
  final long bytes;
  final Lifetime lifetime;
  private final Stream owner;
  private volatile boolean shared;
  // Guarded by this: the last use, and how many (the owner, graphs) may still use it.
  private @Nullable Stream lastUser;
  private @Nullable Lifetime lastUseLifetime;
  private @Nullable BackendEvent lastUse;
  private int holders = 1;

  Workspace(Stream owner, BackendMemory memory, long offset, long bytes, Lifetime lifetime) {
    this.owner = owner;
    this.memory = memory;
    this.offset = offset;
    this.bytes = bytes;
    this.lifetime = lifetime;
  }

  /** A graph was captured over it. */
  synchronized void retain() {
    holders++;
  }

  /** The owner, or a graph, is done with it. */
  synchronized void release() {
    holders--;
    if (holders == 0) {
      forgetLastUse();
    }
  }

  /** Called, without holding another stream's lock, before a graph is launched on a stream. */
  void share(Stream user) {
    if (user == owner || shared) {
      return;
    }
    owner.lock();
    try {
      if (owner.isCapturing()) {
        throw new IllegalStateException(
            "graph: its scratch is that of "
                + owner
                + ", which is being captured; launch it before or after");
      }
      synchronized (this) {
        if (!shared) {
          if (!owner.isClosed()) {
            owner.device().guard("BackendStream.record", () -> noteUse(owner));
          }
          shared = true;
        }
      }
    } finally {
      owner.unlock();
    }
  }

  /** Runs a launch on a locked stream, ordered behind the last use. */
  void order(Stream user, Runnable launch) {
    if (!shared || user.isCapturing()) {
      launch.run();
      return;
    }
    synchronized (this) {
      if (lastUser != user && lastUse != null && lastUseLifetime != null) {
        lastUseLifetime.use(user, user.sequence());
        user.backend().await(lastUse);
      }
      try {
        launch.run();
      } finally {
        noteUse(user); // after a failure too: a part may have been enqueued
      }
    }
  }

  private void noteUse(Stream user) {
    BackendEvent event = user.backend().record();
    forgetLastUse();
    Lifetime eventLifetime = user.device().internalLifetime("workspace event", event::close);
    eventLifetime.use(user, user.sequence());
    lastUse = event;
    lastUser = user;
    lastUseLifetime = eventLifetime;
  }

  private void forgetLastUse() {
    if (lastUseLifetime != null) {
      lastUseLifetime.close();
    }
    lastUse = null;
    lastUser = null;
    lastUseLifetime = null;
  }
}
