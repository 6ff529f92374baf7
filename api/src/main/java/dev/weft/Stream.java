package dev.weft;

import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendStream;
import dev.weft.spi.LaunchContext;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * An in-order queue of work on a device. Launches and transfers enqueue and return; events order
 * streams; {@link #synchronize()} waits. May be used from several threads: each launch enqueues
 * whole, in the order in which the threads got there. A thread that waits does not hold up those
 * that launch.
 */
public final class Stream implements AutoCloseable {
  /** How long a thread that is short of memory waits for another that is enqueuing. */
  private static final long DRAIN_PATIENCE_MILLIS = 1000;

  private final Device device;
  private final BackendStream backend;
  private final String name;
  // Guards all that follows, and the backend's stream. A thread may wait for a second stream's lock
  // only while it holds none.
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition waitersGone = lock.newCondition();
  private final LaunchLog log = new LaunchLog();
  private final HostCopies hostCopies = new HostCopies();
  private final Scratch scratch = new Scratch(this);
  private final Transfers transfers;
  private final Set<Lifetime> keptForCaller = new LinkedHashSet<>();
  private volatile long launched;
  private volatile long completed;
  private int waiters;
  private @Nullable DeviceException untold;
  private @Nullable BackendEvent fence;
  private long fenceSequence;
  private @Nullable Capture capture;
  private volatile boolean closed;

  /** What a capture keeps alive, and calls itself. */
  private static final class Capture {
    final Set<Lifetime> pins = new LinkedHashSet<>();
    final LaunchLog log = new LaunchLog();
    @Nullable Workspace workspace;

    void keep(Lifetime lifetime) {
      if (!pins.contains(lifetime)) {
        lifetime.pin();
        pins.add(lifetime);
      }
    }
  }

  Stream(Device device, BackendStream backend, String name) {
    this.device = device;
    this.backend = backend;
    this.name = name;
    this.transfers = new Transfers(this, hostCopies);
  }

  /**
   * Returns the device.
   *
   * @return the device that this stream belongs to
   */
  public Device device() {
    return device;
  }

  /**
   * Returns the backend's stream, for interop.
   *
   * @return the backend's own object
   */
  public BackendStream backend() {
    return backend;
  }

  /**
   * Enqueues a copy from the host. A native segment must live and stay unchanged until the copy is
   * done; one on the heap, or confined to a thread, is staged first and may be reused at once.
   *
   * @param source host elements
   * @param target a tensor of the same type and shape, with any strides
   * @throws IllegalStateException for a segment that must be staged while the owner of a wrapped
   *     stream captures it: nobody would know when the staging memory is free
   */
  public void upload(HostTensor source, Tensor target) {
    transfers.upload(source, target);
  }

  /**
   * Enqueues a copy to the host. A native segment must live until the copy is done. One on the
   * heap, or confined to a thread, is filled by the next wait on this stream (or for an event
   * recorded on it after this call); should that wait throw, its content is undefined.
   *
   * @param source a tensor, with any strides
   * @param target host elements of the same type and shape
   * @throws IllegalStateException for a heap or confined segment while capturing a graph
   */
  public void download(Tensor source, HostTensor target) {
    transfers.download(source, target);
  }

  /**
   * Enqueues a copy between tensors of one type and shape, with any strides. Tensors of one device
   * must not overlap. Between devices the copy goes through the host: it waits for the source
   * device's default stream, and for this stream.
   *
   * @param source what to copy, of any device
   * @param target where to, of this stream's device
   * @throws IllegalStateException for a copy between devices while capturing a graph
   */
  public void copy(Tensor source, Tensor target) {
    transfers.copy(source, target);
  }

  /**
   * Enqueues filling a tensor's bytes with zeros.
   *
   * @param target the tensor, with any strides
   */
  public void zero(Tensor target) {
    fill(target, (byte) 0);
  }

  /**
   * Enqueues filling every byte of a tensor's elements.
   *
   * @param target the tensor, with any strides
   * @param value the byte; 0xff makes every floating element a NaN
   */
  public void fill(Tensor target, byte value) {
    transfers.fill(target, value);
  }

  /**
   * Marks this point of the queue.
   *
   * @return an event, complete when all earlier work is; close it
   */
  public Event record() {
    lock();
    try {
      checkUsable();
      refuseWhileCapturing("record");
      BackendEvent event = device.guard("BackendStream.record", backend::record);
      return new Event(this, launched, event);
    } finally {
      unlock();
    }
  }

  /**
   * Makes later work of this stream wait, on the device, for an event.
   *
   * @param event an event of any stream of the same device
   */
  public void await(Event event) {
    if (event.device() != device) {
      throw new IllegalArgumentException(
          "await: the event is of "
              + event.device().info().selector()
              + ", the stream of "
              + device.info().selector()
              + "; wait for it on the host instead");
    }
    locked(() -> enqueue("await", List.of(event.lifetime()), () -> backend.await(event.backend())));
  }

  /**
   * Waits until all work of this stream is done.
   *
   * @throws DeviceException if any of it failed, naming the launches since the last good wait
   * @throws DeviceLostException if that was the end of the device, naming them too
   */
  public void synchronize() {
    BackendEvent end;
    long sequence;
    lock();
    try {
      checkUsable();
      refuseWhileCapturing("synchronize");
      sequence = launched;
      try {
        end = device.guard("BackendStream.record", backend::record);
      } catch (DeviceLostException e) { // of an earlier launch: some drivers say so at once
        throw device.lostAmong(launchesUpTo(sequence), e);
      }
      waiters++;
    } finally {
      unlock();
    }
    try {
      await(end, sequence);
    } finally {
      lock();
      try {
        device.release("event", end::close);
        waiters--;
        waitersGone.signalAll();
      } finally {
        unlock();
      }
    }
    device.reaper.poll();
  }

  /**
   * Makes sure that launches needing up to this much scratch allocate nothing.
   *
   * @param bytes scratch bytes, such as {@link Kernel#workspaceBytes} gives
   */
  public void reserve(long bytes) {
    if (bytes < 0) {
      throw new IllegalArgumentException("reserve: expected at least 0 bytes, but was " + bytes);
    }
    if (bytes > 0) {
      locked(() -> scratch.ensure("reserve", bytes));
    }
  }

  /**
   * Lends scratch memory: launches use this tensor's memory instead of an arena of the stream's
   * own. A launch that needs more is refused, and so is one that names the tensor. Lend a tensor to
   * one stream at a time.
   *
   * @param scratch contiguous, its place a multiple of 256 bytes; null takes the loan back
   * @throws IllegalStateException while capturing a graph
   */
  public void lend(@Nullable Tensor scratch) {
    if (scratch != null) {
      checkTensor("lend", "scratch", scratch);
    }
    locked(() -> {
      refuseWhileCapturing("lend");
      this.scratch.lend(scratch);
    });
  }

  /**
   * Records what a body enqueues on this stream, instead of doing it.
   *
   * <p>The graph fixes tensors and shapes; values on the device may change between launches. It
   * keeps its tensors, kernels and scratch alive. Scratch must have been reserved before: a launch
   * in the body that needs more is an {@link IllegalStateException} with the bytes.
   *
   * @param body enqueues on this stream, from the calling thread, and does not wait
   * @return the graph, to be closed
   * @throws UnsupportedOperationException if the device has no graphs ({@link DeviceInfo#graphs()})
   */
  public Graph capture(Consumer<Stream> body) {
    lock();
    try {
      checkUsable();
      if (!device.info().graphs()) {
        throw new UnsupportedOperationException(
            "capture: " + device.info().selector() + " has no graphs; launch eagerly");
      }
      refuseWhileCapturing("capture");
      Capture recording = new Capture();
      device.guard("BackendStream.beginCapture", backend::beginCapture);
      capture = recording;
      BackendGraph graph;
      try {
        body.accept(this);
        capture = null;
        graph = device.guard("BackendStream.endCapture", backend::endCapture);
      } catch (Throwable t) {
        if (capture != null) {
          abandonCapture(t);
        }
        recording.pins.forEach(Lifetime::unpin);
        throw t;
      }
      return new Graph(device, graph, recording.pins, recording.workspace, recording.log.upTo(0));
    } finally {
      unlock();
    }
  }

  /** Ends a capture whose body failed; the caller throws what failed. */
  private void abandonCapture(Throwable failure) {
    capture = null;
    try {
      BackendGraph unfinished = device.guard("BackendStream.endCapture", backend::endCapture);
      device.release("unfinished graph", unfinished::close);
    } catch (RuntimeException e) {
      failure.addSuppressed(e);
    }
  }

  /**
   * Waits for all work, then releases the stream. Closing twice is harmless, closing the default
   * stream does nothing: the device closes that.
   *
   * @throws DeviceException if work still in flight failed; the stream is released all the same
   * @throws IllegalStateException in the body of a capture
   */
  @Override
  public void close() {
    if (this == device.defaultStreamOrNull()) {
      return;
    }
    RuntimeException fault = closeNow();
    if (fault != null) {
      throw fault;
    }
  }

  @Override
  public String toString() {
    return name;
  }

  // ---- for the api's own use ----

  /** Drains and releases, on a closing device too; returns what went wrong. */
  @Nullable RuntimeException closeNow() {
    lock();
    try {
      if (closed) {
        return null;
      }
      if (capture != null) {
        throw new IllegalStateException("close: " + name + " is being captured");
      }
      RuntimeException fault = drain();
      while (waiters > 0 && !device.isLost()) {
        waitersGone.awaitUninterruptibly();
      }
      if (closed) {
        return null; // by another thread, while this one had given the lock up
      }
      closed = true;
      completed = launched;
      dropFence();
      scratch.drop();
      hostCopies.settle(launched, false);
      keptForCaller.forEach(Lifetime::unpin);
      device.forget(this);
      try {
        device.guard("BackendStream.close", backend::close);
      } catch (DeviceLostException e) {
        // sticky: whoever uses the device next hears of it
      } catch (RuntimeException e) {
        fault = fault == null ? e : fault;
      }
      return fault;
    } finally {
      unlock();
    }
  }

  /** Waits for all work, on a closing device too; returns what went wrong but the device's loss. */
  @Nullable RuntimeException drain() {
    lock();
    try {
      RuntimeException fault = untold;
      untold = null;
      if (closed || capture != null || device.isLost()) {
        return fault;
      }
      try {
        device.guard("BackendStream.synchronize", backend::synchronize);
        settle(launched, true);
      } catch (DeviceException e) {
        fault = fault == null ? named(e, launched) : fault;
        settle(launched, false);
      } catch (DeviceLostException e) {
        // sticky: whoever uses the device next hears of it
      } catch (RuntimeException e) {
        fault = fault == null ? e : fault;
      }
      return fault;
    } finally {
      unlock();
    }
  }

  /**
   * Drains for a thread that is short of memory, which may hold another stream's lock: gives up if
   * this one's stays taken. A fault is kept for the next wait on this stream.
   */
  void drainForMemory() {
    try {
      if (!lock.tryLock(DRAIN_PATIENCE_MILLIS, TimeUnit.MILLISECONDS)) {
        return;
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return;
    }
    try {
      if (!isCapturing() && drain() instanceof DeviceException fault) {
        untold = fault;
      }
    } finally {
      unlock();
    }
  }

  /** Enqueues one launch of a kernel. */
  void launch(Launch launch, Consumer<LaunchContext> body) {
    locked(() -> {
      boolean capturing = isCapturing();
      if (!capturing) {
        device.reaper.poll(); // freeing memory may be illegal during a capture
      }
      long bytes = launch.workspaceBytes();
      if (bytes == 0) {
        LaunchContext context = new LaunchContext(backend, null, 0, 0);
        enqueue(launch.name(), launch.lifetimes(), () -> body.accept(context));
        return;
      }
      Workspace workspace = scratch.ensure(launch.name(), bytes);
      Tensor lent = scratch.lent();
      if (lent != null) {
        launch.checkLent(lent);
      }
      List<Lifetime> lifetimes = new ArrayList<>(launch.lifetimes());
      lifetimes.add(workspace.lifetime);
      if (capture != null) {
        capture.workspace = workspace;
      } else if (capturing && keptForCaller.add(workspace.lifetime)) {
        workspace.lifetime.pin(); // nobody tells when the caller's graph is gone
      }
      LaunchContext context = new LaunchContext(backend, workspace.memory, workspace.offset, bytes);
      enqueue(launch.name(), lifetimes, () -> workspace.order(this, () -> body.accept(context)));
    });
  }

  void launch(Graph graph) {
    if (lock.isHeldByCurrentThread()) {
      refuseWhileCapturing("graph"); // before waiting for the lock of its scratch's owner
    }
    Workspace workspace = graph.workspace();
    if (workspace != null) {
      workspace.share(this);
    }
    locked(() -> {
      refuseWhileCapturing("graph");
      device.reaper.poll();
      Runnable enqueue = () -> backend.launch(graph.backend());
      enqueue(
          graph.toString(),
          List.of(graph.lifetime()),
          workspace == null ? enqueue : () -> workspace.order(this, enqueue));
    });
  }

  /** Waits, without the lock, for an event recorded at a sequence number. */
  void await(BackendEvent event, long sequence) {
    lock();
    waiters++;
    unlock();
    DeviceException failed = null;
    try {
      device.guard("BackendEvent.synchronize", event::synchronize);
    } catch (DeviceException e) {
      failed = e;
    } catch (DeviceLostException e) {
      throw device.lostAmong(launchesUpTo(sequence), e);
    } finally {
      lock();
      waiters--;
      waitersGone.signalAll();
      unlock();
    }
    lock();
    try {
      DeviceException fault = failed == null ? untold : named(failed, sequence);
      untold = null;
      settle(sequence, failed == null);
      if (fault != null) {
        throw fault;
      }
    } finally {
      unlock();
    }
  }

  void lock() {
    lock.lock();
  }

  void unlock() {
    lock.unlock();
  }

  /** Tells, after any capture by another thread, whether the stream is being captured. */
  boolean isCapturedNow() {
    lock();
    try {
      return isCapturing();
    } finally {
      unlock();
    }
  }

  /** Tells whether this thread is in the body of a capture of this stream. */
  boolean isCapturedByThisThread() {
    return lock.isHeldByCurrentThread() && capture != null;
  }

  /** For those who hold the lock. */
  boolean isCapturing() {
    return capture != null || backend.isCapturedByCaller();
  }

  /**
   * Whether a stream of the caller's is being captured by the caller. For those who hold the lock.
   */
  boolean isCapturedByOwner() {
    return capture == null && backend.isCapturedByCaller();
  }

  boolean isClosed() {
    return closed;
  }

  long sequence() {
    return launched;
  }

  /** Tells, without waiting and without throwing, whether the work up to a sequence is done. */
  boolean hasCompleted(long sequence) {
    if (completed >= sequence || closed) {
      return true;
    }
    if (!lock.tryLock()) {
      return false;
    }
    try {
      if (device.isLost() || isCapturing()) {
        return completed >= sequence; // else released when the device closes
      }
      if (fence == null && completed < sequence) {
        fence = device.guard("BackendStream.record", backend::record);
        fenceSequence = launched;
      }
      if (fence != null && fence.isComplete()) {
        completed = Math.max(completed, fenceSequence);
        dropFence();
      }
      return completed >= sequence;
    } catch (RuntimeException e) {
      return false; // whoever asks has nothing to do with it; a wait settles it
    } finally {
      unlock();
    }
  }

  /** Everything up to a sequence number is done, well or not. */
  private void settle(long sequence, boolean good) {
    completed = Math.max(completed, sequence);
    if (fenceSequence <= completed) {
      dropFence();
    }
    log.forget(sequence);
    hostCopies.settle(sequence, good);
  }

  private DeviceException named(DeviceException e, long sequence) {
    return new DeviceException(e.getMessage() + "; " + launchesUpTo(sequence), e.code(), e);
  }

  /** What a late fault may be of. */
  private String launchesUpTo(long sequence) {
    lock();
    try {
      return "launches on "
          + name
          + " since the last good wait: "
          + log.upTo(sequence)
          + " (DeviceOptions.synchronous(true) finds the one)";
    } finally {
      unlock();
    }
  }

  /** Does something in its turn, on a stream that can be used. */
  void locked(Runnable action) {
    lock();
    try {
      checkUsable();
      action.run();
    } finally {
      unlock();
    }
  }

  /** Enqueues under the lock, noting what is used. */
  void enqueue(String what, Collection<Lifetime> lifetimes, Runnable action) {
    Capture recording = capture;
    if (recording != null) {
      lifetimes.forEach(recording::keep);
      recording.log.add(0, what);
      device.guard(what, action);
      return;
    }
    long sequence = launched + 1;
    launched = sequence;
    for (Lifetime lifetime : lifetimes) {
      lifetime.use(this, sequence);
    }
    log.add(sequence, what);
    try {
      device.guard(what, action);
    } catch (DeviceLostException e) { // perhaps in an earlier one
      throw device.lostAmong(launchesUpTo(sequence), e);
    }
    if (device.options().synchronous() && !isCapturing()) {
      synchronize();
    }
  }

  private void dropFence() {
    BackendEvent old = fence;
    fence = null;
    if (old != null) {
      device.release("event", old::close);
    }
  }

  void refuseWhileCapturing(String call) {
    if (isCapturing()) {
      throw new IllegalStateException(
          call + ": not possible while " + name + " is being captured; do it before or after");
    }
  }

  private void checkUsable() {
    device.checkUsable();
    if (closed) {
      throw new IllegalStateException(name + " is closed; use it before close()");
    }
  }

  void checkTensor(String call, String tensorName, Tensor tensor) {
    tensor.checkOpen(tensorName);
    if (tensor.device() != device) {
      throw new IllegalArgumentException(
          call
              + ": "
              + tensorName
              + " is on "
              + tensor.device().info().selector()
              + ", the stream on "
              + device.info().selector()
              + "; Stream.copy crosses devices");
    }
  }
}
