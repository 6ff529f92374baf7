package dev.weft.backend.cpu.host;

import dev.weft.spi.BackendEvent;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;

/** A point in a {@link HostStream}'s queue, timed when the stream's thread passes it. */
final class HostEvent implements BackendEvent {
  private final CountDownLatch passed = new CountDownLatch(1);
  // Written before the latch falls, read after.
  private long nanos;
  private HostStream.@Nullable Fault fault;

  /** Called by the stream's thread. */
  void pass(HostStream.@Nullable Fault pending) {
    nanos = System.nanoTime();
    fault = pending;
    passed.countDown();
  }

  /** Waits without throwing faults; an interrupt is kept for the caller to see. */
  void await() {
    boolean interrupted = false;
    while (true) {
      try {
        passed.await();
        break;
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public boolean isComplete() {
    return passed.getCount() == 0;
  }

  @Override
  public void synchronize() {
    await();
    HostStream.Fault pending = fault;
    if (pending != null) {
      pending.throwOnce();
    }
  }

  @Override
  public double nanosSince(BackendEvent start) {
    return nanos - ((HostEvent) start).nanos;
  }

  @Override
  public void close() {}
}
