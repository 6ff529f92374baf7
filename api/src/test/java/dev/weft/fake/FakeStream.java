package dev.weft.fake;

import dev.weft.DeviceException;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/** A queue whose work runs when it is let, or waited for. */
public final class FakeStream implements BackendStream {
  private final FakeDevice device;
  private final String name;
  private final List<Work> queue = new ArrayList<>();
  private @Nullable List<Work> capture;
  private @Nullable Fault fault;
  private boolean capturedByCaller;
  private boolean nativelyCaptured;
  private @Nullable Thread enqueuing;

  record Work(String name, Runnable body) {}

  /** Thrown by the first wait that covers it, whichever that is. */
  private record Fault(String work, AtomicBoolean thrown) {
    static void check(@Nullable Fault fault) {
      if (fault != null && fault.thrown.compareAndSet(false, true)) {
        throw new DeviceException(fault.work, 700, "FAKE_ILLEGAL_ADDRESS", null);
      }
    }
  }

  /** A point in the queue, passed once the work before it has run. */
  final class FakeEvent implements BackendEvent {
    private volatile boolean passed;
    private @Nullable Fault fault;

    @Override
    public boolean isComplete() {
      use("isComplete");
      return passed;
    }

    @Override
    public void synchronize() {
      use("event.synchronize");
      runUntil(this);
      Fault.check(fault);
    }

    @Override
    public double nanosSince(BackendEvent start) {
      use("nanosSince");
      return 1000;
    }

    private FakeStream owner() {
      return FakeStream.this;
    }

    private void use(String call) {
      device.enter(call);
      if (!device.isAlive(this)) {
        device.violation(call + " of a closed event");
      }
    }

    @Override
    public void close() {
      device.closed(this);
    }

    @Override
    public String toString() {
      return "event of " + name;
    }
  }

  /** Recorded work. */
  static final class FakeGraph implements BackendGraph {
    private final FakeDevice device;
    private final List<Work> works;

    FakeGraph(FakeDevice device, List<Work> works) {
      this.device = device;
      this.works = works;
    }

    @Override
    public void close() {
      device.enter("graph close");
      device.closed(this);
    }

    @Override
    public String toString() {
      return "graph of " + works.size();
    }
  }

  FakeStream(FakeDevice device, String name) {
    this.device = device;
    this.name = name;
  }

  /** Runs all that is enqueued. */
  public void finish() {
    runUntil(null);
  }

  public synchronized int pending() {
    return queue.size();
  }

  /** Enqueues work that says when it runs, and then takes until it is released. */
  public void block(CountDownLatch running, CountDownLatch release) {
    submit(
        "block",
        () -> {
          running.countDown();
          try {
            release.await();
          } catch (InterruptedException e) {
            throw new IllegalStateException(e);
          }
        });
  }

  /** As if someone outside Weft had begun a capture on the native stream. */
  public synchronized void capturedByCaller(boolean captured) {
    capturedByCaller = captured;
    nativelyCaptured = captured;
  }

  /** Enqueues work in one step; several steps of one launch must stay together. */
  void submit(String work, Runnable body) {
    device.enter(work);
    synchronized (this) {
      if (!device.isAlive(this)) {
        device.violation(work + " on the closed " + name);
      }
      (capture == null ? queue : capture).add(new Work(work, body));
    }
  }

  /** Notes that a launch of several steps begins or ends; another thread in between is a fault. */
  void exclusive(boolean begin) {
    Thread other;
    synchronized (this) {
      other = enqueuing;
      enqueuing = begin ? Thread.currentThread() : null;
    }
    if (begin && other != null) {
      device.violation("two threads enqueue on " + name);
    }
  }

  private void runUntil(@Nullable FakeEvent event) {
    while (true) {
      Work work;
      synchronized (this) {
        if (queue.isEmpty() || (event != null && event.passed)) {
          return;
        }
        work = queue.removeFirst();
      }
      work.body.run();
      if (device.takeFault(work.name)) {
        synchronized (this) {
          if (fault == null || fault.thrown.get()) {
            fault = new Fault(work.name, new AtomicBoolean());
          }
        }
      }
    }
  }

  @Override
  public void upload(MemorySegment source, BackendMemory target, long targetOffset) {
    submit(
        "upload",
        () ->
            MemorySegment.copy(
                source, 0, bytes(target, "upload"), targetOffset, source.byteSize()));
  }

  @Override
  public void download(BackendMemory source, long sourceOffset, MemorySegment target) {
    submit(
        "download",
        () ->
            MemorySegment.copy(
                bytes(source, "download"), sourceOffset, target, 0, target.byteSize()));
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
                bytes(source, "copy"), sourceOffset, bytes(target, "copy"), targetOffset, bytes));
  }

  @Override
  public void fill(BackendMemory target, long targetOffset, long bytes, byte value) {
    submit("fill", () -> bytes(target, "fill").asSlice(targetOffset, bytes).fill(value));
  }

  private static MemorySegment bytes(BackendMemory memory, String work) {
    return ((FakeMemory) memory).touch(work);
  }

  @Override
  public BackendEvent record() {
    if (capture != null || nativelyCaptured) {
      device.violation("record during a capture of " + name);
    }
    device.enter("record");
    FakeEvent event = device.made(new FakeEvent());
    device.note("record " + name);
    submit(
        "record",
        () -> {
          event.passed = true;
          synchronized (this) {
            event.fault = fault;
          }
        });
    return event;
  }

  @Override
  public void await(BackendEvent event) {
    FakeEvent awaited = (FakeEvent) event;
    device.note(name + " awaits " + awaited);
    submit("await", () -> awaited.owner().runUntil(awaited));
  }

  @Override
  public void synchronize() {
    device.enter("synchronize");
    if (capture != null || nativelyCaptured) {
      device.violation("synchronize during a capture of " + name);
    }
    finish();
    Fault latest;
    synchronized (this) {
      latest = fault;
    }
    Fault.check(latest);
  }

  @Override
  public void beginCapture() {
    device.enter("beginCapture");
    capture = new ArrayList<>();
  }

  @Override
  public BackendGraph endCapture() {
    List<Work> recorded = capture;
    capture = null;
    device.enter("endCapture");
    if (recorded == null) {
      throw new IllegalStateException("no capture");
    }
    return device.made(new FakeGraph(device, recorded));
  }

  @Override
  public boolean isCapturedByCaller() {
    return capturedByCaller;
  }

  @Override
  public void launch(BackendGraph graph) {
    FakeGraph recorded = (FakeGraph) graph;
    submit(
        "graph",
        () -> {
          if (!device.isAlive(recorded)) {
            device.violation("a closed graph runs");
          }
          recorded.works.forEach(work -> work.body.run());
        });
  }

  @Override
  public void close() {
    device.enter("stream close");
    device.closed(this);
  }

  @Override
  public String toString() {
    return name;
  }
}
