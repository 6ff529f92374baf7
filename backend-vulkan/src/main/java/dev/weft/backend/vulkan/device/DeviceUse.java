package dev.weft.backend.vulkan.device;

import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.jspecify.annotations.Nullable;

/**
 * Who is at work with a device: any number of threads while it is open, or the one that closes it.
 * A program that is told to end goes on in its threads while the JVM's shutdown closes the device;
 * what they are recording must not be destroyed under them.
 */
final class DeviceUse {
  private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
  private final Use use = () -> lock.readLock().unlock();
  private volatile boolean closing;

  /** One call's work with the device, which may hold others of the same thread. */
  interface Use extends AutoCloseable {
    /** The work is done. */
    @Override
    void close();
  }

  /**
   * Begins a use.
   *
   * @throws IllegalStateException if the device is closed or about to be
   */
  Use begin() {
    Use begun = tryBegin();
    if (begun == null) {
      throw new IllegalStateException("the Vulkan device is closed");
    }
    return begun;
  }

  /** Begins a use; null if the device is closed or about to be. */
  @Nullable Use tryBegin() {
    if (isRefused()) {
      return null;
    }
    lock.readLock().lock();
    if (isRefused()) { // while this thread waited
      lock.readLock().unlock();
      return null;
    }
    return use;
  }

  /** Uses that have begun go on, and so do those within them and those of whoever closes. */
  private boolean isRefused() {
    return closing && lock.getReadHoldCount() == 0 && !lock.isWriteLockedByCurrentThread();
  }

  /** Lets no use begin any more, waits for those that have begun, and destroys. */
  void end(Runnable destroy) {
    closing = true;
    lock.writeLock().lock();
    try {
      destroy.run();
    } finally {
      lock.writeLock().unlock();
    }
  }

  /** The same, but destroys nothing if uses go on for longer than that. */
  void endWithin(Duration most, Runnable destroy) {
    closing = true;
    try {
      if (lock.writeLock().tryLock(most.toNanos(), TimeUnit.NANOSECONDS)) {
        try {
          destroy.run();
        } finally {
          lock.writeLock().unlock();
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt(); // nobody has a reason to: as if the time were over
    }
  }
}
