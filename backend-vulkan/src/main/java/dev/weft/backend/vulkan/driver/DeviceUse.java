package dev.weft.backend.vulkan.driver;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Who is at work with an instance and its device: any number of threads while it is open, or the
 * one that ends it, by closing it or by the JVM's shutdown. A program that is told to end goes on
 * in its threads meanwhile; what they are making or recording must not be destroyed under them, nor
 * may a driver be entered once its library is about to be left.
 */
public final class DeviceUse {
  /**
   * How long a shutdown waits for threads that are at work: some pipelines take a driver seconds,
   * and after ten of them container engines kill.
   */
  private static final Duration SHUTDOWN_WAIT = Duration.ofSeconds(10);

  private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
  private final Use use = () -> lock.readLock().unlock();
  private final Thread atShutdown = new Thread(this::endInTime, "weft-vulkan-shutdown");

  /** What destroys something, last made first; one that says no leaves what is below it. */
  private final Deque<BooleanSupplier> ends = new ArrayDeque<>();

  private volatile boolean closing;

  private DeviceUse() {}

  /**
   * Before there is an instance: from now on a shutdown waits for uses.
   *
   * @throws IllegalStateException if the JVM is shutting down
   */
  static DeviceUse start() {
    DeviceUse started = new DeviceUse();
    Runtime.getRuntime().addShutdownHook(started.atShutdown);
    return started;
  }

  /** One call's work with the device, which may hold others of the same thread. */
  public interface Use extends AutoCloseable {
    /** The work is done. */
    @Override
    void close();
  }

  /**
   * Begins a use.
   *
   * @throws IllegalStateException if the device is closed or about to be
   */
  public Use begin() {
    Use begun = tryBegin();
    if (begun == null) {
      throw new IllegalStateException("the Vulkan device is closed");
    }
    return begun;
  }

  /** Begins a use; null if the device is closed or about to be. */
  public @Nullable Use tryBegin() {
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

  /**
   * For long work in parts, by whichever thread within a use: whether the next part is worth it.
   *
   * @throws IllegalStateException if the device is about to be closed
   */
  public void checkGoesOn() {
    if (closing) {
      throw new IllegalStateException("the Vulkan device is closed");
    }
  }

  /** Uses that have begun go on, and so do those within them and those of whoever ends. */
  private boolean isRefused() {
    return closing && lock.getReadHoldCount() == 0 && !lock.isWriteLockedByCurrentThread();
  }

  /** What the end destroys, before all that was said earlier. Called within a use. */
  public void endsBy(BooleanSupplier destroy) {
    synchronized (ends) {
      ends.push(destroy);
    }
  }

  /** Lets no use begin any more, waits for those that have begun, and destroys. */
  public void end() {
    closing = true;
    lock.writeLock().lock();
    try {
      destroyAll();
    } finally {
      lock.writeLock().unlock();
    }
    try {
      Runtime.getRuntime().removeShutdownHook(atShutdown);
    } catch (IllegalStateException e) {
      // The JVM is shutting down, and the hook finds nothing left to do.
    }
  }

  /**
   * The same at a shutdown. Where a thread goes on for too long, all is left as it is: destroyed
   * under its hands it would crash, left alone it need not.
   */
  private void endInTime() {
    closing = true;
    try {
      if (lock.writeLock().tryLock(SHUTDOWN_WAIT.toNanos(), TimeUnit.NANOSECONDS)) {
        try {
          destroyAll();
        } finally {
          lock.writeLock().unlock();
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt(); // nobody has a reason to: as if the time were over
    }
  }

  private void destroyAll() {
    synchronized (ends) {
      while (!ends.isEmpty() && ends.peek().getAsBoolean()) {
        ends.pop();
      }
    }
  }
}
