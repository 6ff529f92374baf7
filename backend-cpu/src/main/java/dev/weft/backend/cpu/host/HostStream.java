package dev.weft.backend.cpu.host;

import dev.weft.DeviceException;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.LaunchContext;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/**
 * A queue of work for one thread of its own, which starts with the first work. During a capture
 * work is recorded instead.
 *
 * <p>Work that throws does not stop what follows; the first fault since the last wait is thrown, as
 * a {@link DeviceException}, by the next wait that covers it, and by that one only.
 */
public final class HostStream implements BackendStream {
  // A thread copies or fills so much at a time.
  private static final long PIECE = 4L << 20;

  private final WorkPool pool;
  private final LinkedBlockingQueue<Work> queue = new LinkedBlockingQueue<>();
  private @Nullable Thread worker;
  private @Nullable List<Work> capture;
  // Only the worker's: the first fault that no wait has thrown yet.
  private @Nullable Fault pending;
  // Only the worker's.
  private boolean stopping;

  /**
   * Makes a stream.
   *
   * @param pool the threads that copy and fill
   */
  HostStream(WorkPool pool) {
    this.pool = pool;
  }

  /** One entry of the queue. */
  record Work(String name, Runnable body) {}

  /** What work threw. */
  static final class Fault {
    private final String work;
    private final Throwable cause;
    private final AtomicBoolean thrown = new AtomicBoolean();

    Fault(String work, Throwable cause) {
      this.work = work;
      this.cause = cause;
    }

    boolean wasThrown() {
      return thrown.get();
    }

    void throwOnce() {
      if (thrown.compareAndSet(false, true)) {
        throw new DeviceException(work, 0, cause.toString(), cause);
      }
    }
  }

  /**
   * Returns the stream that a launch goes to.
   *
   * @param context a launch's context
   * @return its stream
   */
  public static HostStream of(LaunchContext context) {
    return (HostStream) context.stream();
  }

  /**
   * Enqueues work, or records it while capturing.
   *
   * @param name what to call it should it fail
   * @param body runs later, on the stream's thread, once or (recorded) once for each replay
   */
  public void submit(String name, Runnable body) {
    Work work = new Work(name, body);
    if (capture != null) {
      capture.add(work);
    } else {
      enqueue(work);
    }
  }

  @Override
  public void upload(MemorySegment source, BackendMemory target, long targetOffset) {
    // What is confined to the caller's thread is copied here.
    MemorySegment from =
        canAccess(source)
            ? source
            : Arena.ofAuto().allocate(source.byteSize(), 64).copyFrom(source);
    long bytes = source.byteSize();
    submit("upload", () -> copy(from, 0, segment(target), targetOffset, bytes));
  }

  @Override
  public void download(BackendMemory source, long sourceOffset, MemorySegment target) {
    long bytes = target.byteSize();
    if (canAccess(target)) {
      submit("download", () -> copy(segment(source), sourceOffset, target, 0, bytes));
      return;
    }
    // Confined to the caller's thread, so that one has to copy.
    if (capture != null) {
      throw new IllegalStateException(
          "download: a graph cannot fill a segment that is confined to one thread; give one of a"
              + " shared arena");
    }
    HostEvent earlier = (HostEvent) record();
    earlier.await();
    MemorySegment.copy(segment(source), sourceOffset, target, 0, bytes);
  }

  @Override
  public void copy(
      BackendMemory source,
      long sourceOffset,
      BackendMemory target,
      long targetOffset,
      long bytes) {
    submit("copy", () -> copy(segment(source), sourceOffset, segment(target), targetOffset, bytes));
  }

  @Override
  public void fill(BackendMemory target, long targetOffset, long bytes, byte value) {
    submit("fill", () -> fill(segment(target), targetOffset, bytes, value));
  }

  @Override
  public BackendEvent record() {
    HostEvent event = new HostEvent();
    // Never recorded by a capture: the api allows no event in one.
    enqueue(new Work("event", () -> event.pass(pendingFault())));
    return event;
  }

  @Override
  public void await(BackendEvent event) {
    HostEvent awaited = (HostEvent) event;
    submit("await", awaited::await);
  }

  @Override
  public void synchronize() {
    record().synchronize();
  }

  @Override
  public void beginCapture() {
    capture = new ArrayList<>();
  }

  @Override
  public BackendGraph endCapture() {
    List<Work> recorded = capture;
    if (recorded == null) {
      throw new IllegalStateException("endCapture: no capture has begun");
    }
    capture = null;
    return new HostGraph(recorded);
  }

  @Override
  public void launch(BackendGraph graph) {
    ((HostGraph) graph).works().forEach(this::enqueue);
  }

  /** Lets the thread end after what is enqueued, and waits until it has. */
  @Override
  public void close() {
    Thread thread = worker;
    if (thread == null) {
      return;
    }
    worker = null;
    queue.add(new Work("stop", () -> stopping = true));
    boolean interrupted = false;
    while (true) {
      try {
        thread.join();
        break;
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Tells whether a stream's thread may touch a segment. */
  static boolean canAccess(MemorySegment segment) {
    // Any thread but the caller stands for the worker, which may not run yet.
    return segment.isAccessibleBy(Thread.ofPlatform().unstarted(() -> {}));
  }

  private void copy(MemorySegment from, long fromAt, MemorySegment to, long toAt, long bytes) {
    if (bytes <= PIECE) {
      MemorySegment.copy(from, fromAt, to, toAt, bytes);
      return;
    }
    pool.run(
        Math.toIntExact(Math.ceilDiv(bytes, PIECE)),
        task -> {
          long at = task * PIECE;
          long some = Math.min(PIECE, bytes - at);
          MemorySegment.copy(from, fromAt + at, to, toAt + at, some);
        });
  }

  private void fill(MemorySegment into, long offset, long bytes, byte value) {
    if (bytes <= PIECE) {
      into.asSlice(offset, bytes).fill(value);
      return;
    }
    pool.run(
        Math.toIntExact(Math.ceilDiv(bytes, PIECE)),
        task -> {
          long at = task * PIECE;
          into.asSlice(offset + at, Math.min(PIECE, bytes - at)).fill(value);
        });
  }

  private static MemorySegment segment(BackendMemory memory) {
    return ((HostMemory) memory).segment();
  }

  private void enqueue(Work work) {
    queue.add(work);
    if (worker == null) {
      worker = Thread.ofPlatform().daemon().name("weft-stream").start(this::run);
    }
  }

  private void run() {
    while (!stopping) {
      Work work;
      try {
        work = queue.take();
      } catch (InterruptedException e) {
        continue; // nobody but code run by this thread could have interrupted it
      }
      try {
        work.body().run();
      } catch (Throwable t) {
        if (pendingFault() == null) {
          pending = new Fault(work.name(), t);
        }
      }
    }
  }

  private @Nullable Fault pendingFault() {
    Fault fault = pending;
    if (fault != null && fault.wasThrown()) {
      pending = null;
      return null;
    }
    return fault;
  }
}
