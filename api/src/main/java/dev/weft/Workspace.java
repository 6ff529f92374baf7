package dev.weft;

import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendMemory;
import org.jspecify.annotations.Nullable;

/**
 * A stream's scratch memory. In-order launches of one stream share it without more ado. A graph
 * that was captured over it may be launched on another stream; from then on every use is ordered
 * behind the last by an event.
 */
final class Workspace {
  final BackendMemory memory;
  final long offset;
  final long bytes;
  final Lifetime lifetime;
  private final Stream owner;
  private volatile boolean shared;
  private @Nullable Stream lastUser;
  private @Nullable Lifetime lastUseLifetime;
  private @Nullable BackendEvent lastUse;

  Workspace(Stream owner, BackendMemory memory, long offset, long bytes, Lifetime lifetime) {
    this.owner = owner;
    this.memory = memory;
    this.offset = offset;
    this.bytes = bytes;
    this.lifetime = lifetime;
  }

  /**
   * Called, without holding any stream's lock, before a launch on a stream that is not the owner.
   */
  void share(Stream user) {
    if (user == owner || shared) {
      return;
    }
    owner.lock();
    try {
      synchronized (this) {
        if (!shared) {
          shared = true;
          noteUse(owner);
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
      launch.run();
      noteUse(user);
    }
  }

  private void noteUse(Stream user) {
    if (lastUseLifetime != null) {
      lastUseLifetime.close();
    }
    BackendEvent event = user.backend().record();
    lastUse = event;
    lastUser = user;
    lastUseLifetime = user.device().internalLifetime("workspace event", event::close);
    lastUseLifetime.use(user, user.sequence());
  }
}
