package com.example.weft;

import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * A queue that one thread works through, in order. Work that throws does not stop what follows; the
 * first fault waits for somebody to wait for it.
 */
final class ExampleStream implements BackendStream {
  private final ExecutorService worker =
      Executors.newSingleThreadExecutor(
          Thread.ofPlatform().daemon().name("example-stream").factory());
  private final AtomicReference<ExampleEvent.@Nullable Fault> pending = new AtomicReference<>();

  /** Enqueues work and returns at once, as every launch has to. */
  void submit(String name, Runnable work) {
    worker.execute(() -> {
      try {
        work.run();
      } catch (Throwable t) {
        pending.compareAndSet(null, new ExampleEvent.Fault(name, t));
      }
    });
  }

  /** Tells whether the worker's thread, or any other than the caller's, may touch a segment. */
  static boolean isShared(MemorySegment segment) {
    return segment.isAccessibleBy(Thread.ofPlatform().unstarted(() -> {}));
  }

  @Override
  public void upload(MemorySegment source, BackendMemory target, long targetOffset) {
    long bytes = source.byteSize();
    MemorySegment from =
        isShared(source) ? source : Arena.ofAuto().allocate(bytes).copyFrom(source);
    submit(
        "upload",
        () -> MemorySegment.copy(from, 0, ExampleMemory.segmentOf(target), targetOffset, bytes));
  }

  @Override
  public void download(BackendMemory source, long sourceOffset, MemorySegment target) {
    Runnable copy =
        () ->
            MemorySegment.copy(
                ExampleMemory.segmentOf(source), sourceOffset, target, 0, target.byteSize());
    if (isShared(target)) {
      submit("download", copy);
    } else { // only the caller may write there
      record().await();
      copy.run();
    }
  }

  @Override
  public void copy(
      BackendMemory source,
      long sourceOffset,
      BackendMemory target,
      long targetOffset,
      long bytes) {
    submit(
        "copy",
        () ->
            MemorySegment.copy(
                ExampleMemory.segmentOf(source),
                sourceOffset,
                ExampleMemory.segmentOf(target),
                targetOffset,
                bytes));
  }

  @Override
  public void fill(BackendMemory target, long targetOffset, long bytes, byte value) {
    submit("fill", () -> ExampleMemory.segmentOf(target).asSlice(targetOffset, bytes).fill(value));
  }

  @Override
  public ExampleEvent record() {
    ExampleEvent event = new ExampleEvent(pending);
    worker.execute(event::pass);
    return event;
  }

  @Override
  public void await(BackendEvent event) {
    submit("await", ((ExampleEvent) event)::await);
  }

  @Override
  public void synchronize() {
    record().synchronize();
  }

  @Override
  public void close() {
    worker.close(); // waits
  }
}
