package com.example.weft;

import dev.weft.DeviceException;
import dev.weft.spi.BackendEvent;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** A point in a stream's queue; complete once the stream's thread has passed it. */
final class ExampleEvent implements BackendEvent {
  private final AtomicReference<@Nullable Fault> pending;
  private final CompletableFuture<Long> passed = new CompletableFuture<>();
  private volatile @Nullable Fault seen;

  /**
   * What work threw.
   *
   * @param work its name
   * @param cause what it was
   */
  record Fault(String work, Throwable cause) {}

  ExampleEvent(AtomicReference<@Nullable Fault> pending) {
    this.pending = pending;
  }

  /** Called by the stream's thread. */
  void pass() {
    seen = pending.get();
    passed.complete(System.nanoTime());
  }

  /** Waits, and leaves faults to whoever synchronises. */
  void await() {
    passed.join();
  }

  @Override
  public boolean isComplete() {
    return passed.isDone();
  }

  /** Throws the fault of work before this point, unless another wait has thrown it already. */
  @Override
  public void synchronize() {
    await();
    Fault fault = seen;
    if (fault != null && pending.compareAndSet(fault, null)) {
      throw new DeviceException(fault.work(), 0, fault.cause().toString(), fault.cause());
    }
  }

  @Override
  public double nanosSince(BackendEvent start) {
    return passed.join() - ((ExampleEvent) start).passed.join();
  }

  @Override
  public void close() {}
}
