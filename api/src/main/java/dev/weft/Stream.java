package dev.weft;

import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.LaunchContext;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * An in-order queue of work on a device. Launches and transfers enqueue and return; events order
 * streams; {@link #synchronize()} waits. May be used from several threads: each launch enqueues
 * whole, in the order in which the threads got there.
 */
public final class Stream implements AutoCloseable {
  /** How many launches an error names; the rest is counted. */
  private static final int NAMED_LAUNCHES = 16;

  /** Scratch offsets and sizes are multiples of this, which suits every device's vector loads. */
  private static final long WORKSPACE_ALIGNMENT = 256;

  private final Device device;
  private final BackendStream backend;
  private final String name;
  private final ReentrantLock lock = new ReentrantLock();
  private final Deque<String> launchesSinceWait = new ArrayDeque<>();
  private final List<HostCopy> hostCopies = new ArrayList<>();
  private long unnamedLaunches;
  private volatile long launched;
  private volatile long completed;
  private @Nullable BackendEvent fence;
  private long fenceSequence;
  private @Nullable Workspace workspace;
  private boolean workspaceLent;
  private @Nullable Capture capture;
  private volatile boolean closed;

  /** A copy from staging memory to a heap segment, due once a download is done. */
  private record HostCopy(long sequence, Runnable copy) {}

  /** What a capture keeps alive. */
  private static final class Capture {
    final Set<Lifetime> pins = new LinkedHashSet<>();
    @Nullable Workspace workspace;
  }

  Stream(Device device, BackendStream backend, String name) {
    this.device = device;
    this.backend = backend;
    this.name = name;
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
   * done; a heap one is staged first, and may be reused at once.
   *
   * @param source host elements
   * @param target a tensor of the same type and shape, with any strides
   */
  public void upload(HostTensor source, Tensor target) {
    checkSame("upload", source.dataType(), source.shape(), target);
    if (source.elements() == 0) {
      return;
    }
    locked(() -> {
      MemorySegment segment = source.segment();
      List<Lifetime> lifetimes = new ArrayList<>(List.of(target.lifetime()));
      Lifetime staging = null;
      if (!segment.isNative()) {
        BackendHostMemory staged = device.hostMemory(segment.byteSize());
        staging = device.internalLifetime("staging memory", staged::close);
        segment = staged.segment().asSlice(0, segment.byteSize()).copyFrom(segment);
        lifetimes.add(staging);
      }
      MemorySegment from = segment;
      try {
        enqueue(
            "upload",
            lifetimes,
            () ->
                StridedRuns.forEach(
                    target,
                    (offset, hostOffset, bytes) ->
                        backend.upload(from.asSlice(hostOffset, bytes), target.memory(), offset)));
      } finally {
        if (staging != null) {
          staging.close();
        }
      }
    });
  }

  /**
   * Enqueues a copy to the host. A native segment must live until the copy is done. A heap segment
   * is filled by the next wait on this stream (or for an event recorded on it after this call).
   *
   * @param source a tensor, with any strides
   * @param target host elements of the same type and shape
   * @throws IllegalStateException for a heap segment while capturing a graph
   */
  public void download(Tensor source, HostTensor target) {
    checkSame("download", target.dataType(), target.shape(), source);
    if (target.elements() == 0) {
      return;
    }
    locked(() -> {
      MemorySegment segment = target.segment();
      List<Lifetime> lifetimes = new ArrayList<>(List.of(source.lifetime()));
      Lifetime staging = null;
      MemorySegment to = segment;
      if (!segment.isNative()) {
        if (isCapturing()) {
          throw new IllegalStateException(
              "download: a graph can only fill native memory; give a native segment");
        }
        BackendHostMemory staged = device.hostMemory(segment.byteSize());
        staging = device.internalLifetime("staging memory", staged::close);
        to = staged.segment().asSlice(0, segment.byteSize());
        lifetimes.add(staging);
      }
      MemorySegment into = to;
      Lifetime staged = staging;
      try {
        enqueue(
            "download",
            lifetimes,
            () ->
                StridedRuns.forEach(
                    source,
                    (offset, hostOffset, bytes) ->
                        backend.download(
                            source.memory(), offset, into.asSlice(hostOffset, bytes))));
      } catch (Throwable t) {
        if (staged != null) {
          staged.close();
        }
        throw t;
      }
      if (staged != null) {
        hostCopies.add(
            new HostCopy(
                launched,
                () -> {
                  segment.copyFrom(into);
                  staged.close();
                }));
      }
    });
  }

  /**
   * Enqueues a copy between tensors of one type and shape, with any strides. Tensors of one device
   * must not overlap. Between devices the copy goes through the host: it waits for the source
   * device's default stream, and for this stream.
   *
   * @param source what to copy, of any device
   * @param target where to, of this stream's device
   */
  public void copy(Tensor source, Tensor target) {
    checkSame("copy", source.dataType(), source.shape(), target);
    source.checkOpen("source");
    if (source.elements() == 0) {
      return;
    }
    if (source.device() != device) {
      upload(source.download(), target);
      synchronize();
      return;
    }
    if (source.mayOverlap(target)) {
      throw new IllegalArgumentException(
          "copy: source " + source + " and target " + target + " overlap; copy through a third");
    }
    locked(() ->
        enqueue(
            "copy",
            List.of(source.lifetime(), target.lifetime()),
            () ->
                StridedRuns.forEachPair(
                    source,
                    target,
                    (from, to, bytes) ->
                        backend.copy(source.memory(), from, target.memory(), to, bytes))));
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
    checkTensor("fill", "target", target);
    if (target.elements() == 0) {
      return;
    }
    locked(() ->
        enqueue(
            "fill",
            List.of(target.lifetime()),
            () ->
                StridedRuns.forEach(
                    target,
                    (offset, hostOffset, bytes) ->
                        backend.fill(target.memory(), offset, bytes, value))));
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
      if (isCapturing()) {
        throw new IllegalStateException("record: an event cannot be recorded during a capture");
      }
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
   */
  public void synchronize() {
    List<Runnable> copies;
    lock();
    try {
      if (capture != null) {
        throw new IllegalStateException("synchronize: the stream is being captured");
      }
      device.checkUsable();
      try {
        device.guard("BackendStream.synchronize", backend::synchronize);
      } catch (DeviceException e) {
        hostCopies.clear();
        throw named(e);
      } finally {
        // Done or failed, nothing is in flight any more.
        completed = launched;
        dropFence();
        launchesSinceWait.clear();
        unnamedLaunches = 0;
      }
      copies = dueCopies();
    } finally {
      unlock();
    }
    copies.forEach(Runnable::run);
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
    lock();
    try {
      checkUsable();
      ensureWorkspace("reserve", bytes);
    } finally {
      unlock();
    }
  }

  /**
   * Lends scratch memory: launches use this tensor's memory instead of an arena of the stream's
   * own. A launch that needs more is refused.
   *
   * @param scratch contiguous, its offset a multiple of 256 bytes; null takes the loan back
   */
  public void lend(@Nullable Tensor scratch) {
    lock();
    try {
      checkUsable();
      if (scratch != null) {
        checkTensor("lend", "scratch", scratch);
        if (!scratch.isContiguous() || scratch.byteOffset() % WORKSPACE_ALIGNMENT != 0) {
          throw new IllegalArgumentException(
              "lend: expected a contiguous tensor at a multiple of 256 bytes, but was "
                  + scratch
                  + " at byte "
                  + scratch.byteOffset());
        }
      }
      dropWorkspace();
      if (scratch != null) {
        long bytes = scratch.elements() * scratch.dataType().bytes();
        workspace =
            new Workspace(
                this,
                scratch.memory(),
                scratch.byteOffset(),
                bytes / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT,
                scratch.lifetime());
        workspaceLent = true;
      }
    } finally {
      unlock();
    }
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
      if (capture != null) {
        throw new IllegalStateException("capture: the stream is being captured already");
      }
      Capture recording = new Capture();
      device.guard("BackendStream.beginCapture", backend::beginCapture);
      capture = recording;
      try {
        body.accept(this);
      } catch (Throwable t) {
        abandon(recording, t);
        throw t;
      }
      capture = null;
      try {
        BackendGraph graph = device.guard("BackendStream.endCapture", backend::endCapture);
        return new Graph(device, graph, recording.pins, recording.workspace);
      } catch (Throwable t) {
        recording.pins.forEach(Lifetime::unpin);
        throw t;
      }
    } finally {
      unlock();
    }
  }

  /** Waits for all work, then releases the stream. Closing twice is harmless. */
  @Override
  public void close() {
    if (this == device.defaultStreamOrNull()) {
      return; // the device's own: closed with it
    }
    closeNow(true);
  }

  @Override
  public String toString() {
    return name;
  }

  void closeNow(boolean drain) {
    lock();
    try {
      if (closed) {
        return;
      }
      RuntimeException fault = null;
      if (drain && !device.isLost()) {
        try {
          synchronize();
        } catch (DeviceLostException e) {
          // sticky: whoever uses the device next hears of it
        } catch (RuntimeException e) {
          fault = e;
        }
      }
      completed = launched;
      closed = true;
      dropFence();
      dropWorkspace();
      device.forget(this);
      device.guard("BackendStream.close", backend::close);
      if (fault != null) {
        throw fault;
      }
    } finally {
      unlock();
    }
  }

  // ---- for the api's own use ----

  /** Enqueues one launch of a kernel. */
  void launch(Launch launch, Consumer<LaunchContext> body) {
    locked(() -> {
      device.reaper.poll();
      long bytes = launch.workspaceBytes();
      if (bytes > 0) {
        ensureWorkspace(launch.name(), bytes);
      }
      Workspace scratch = bytes > 0 ? workspace : null;
      List<Lifetime> lifetimes = new ArrayList<>(launch.lifetimes());
      if (scratch != null) {
        lifetimes.add(scratch.lifetime);
        Capture recording = capture;
        if (recording != null) {
          recording.workspace = scratch;
        }
      }
      LaunchContext context =
          scratch == null
              ? new LaunchContext(backend, null, 0, 0)
              : new LaunchContext(backend, scratch.memory, scratch.offset, bytes);
      Runnable enqueue = () -> body.accept(context);
      enqueue(
          launch.name(), lifetimes, scratch == null ? enqueue : () -> scratch.order(this, enqueue));
    });
  }

  void launch(Graph graph) {
    Workspace scratch = graph.workspace();
    if (scratch != null) {
      scratch.share(this);
    }
    locked(() -> {
      if (isCapturing()) {
        throw new IllegalStateException("graph: a graph cannot be launched during a capture");
      }
      device.reaper.poll();
      Runnable enqueue = () -> backend.launch(graph.backend());
      enqueue(
          "graph",
          List.of(graph.lifetime()),
          scratch == null ? enqueue : () -> scratch.order(this, enqueue));
    });
  }

  void lock() {
    lock.lock();
  }

  void unlock() {
    lock.unlock();
  }

  boolean isCapturing() {
    return capture != null || backend.isCapturedByCaller();
  }

  long sequence() {
    return launched;
  }

  /** Tells, without waiting, whether the work up to a sequence number is done. */
  boolean hasCompleted(long sequence) {
    if (completed >= sequence || closed) {
      return true;
    }
    if (!lock.tryLock()) {
      return false;
    }
    try {
      if (completed >= sequence) {
        return true;
      }
      if (device.isLost()) {
        return false; // released when the device closes
      }
      if (fence != null && fence.isComplete()) {
        completed = Math.max(completed, fenceSequence);
        dropFence();
      }
      if (completed >= sequence) {
        return true;
      }
      if (fence == null && !isCapturing()) {
        fence = device.guard("BackendStream.record", backend::record);
        fenceSequence = launched;
        if (fence.isComplete()) {
          completed = Math.max(completed, fenceSequence);
          dropFence();
        }
      }
      return completed >= sequence;
    } finally {
      lock.unlock();
    }
  }

  /** An event recorded at a sequence number was waited for. */
  void completedThrough(long sequence) {
    List<Runnable> copies;
    lock();
    try {
      completed = Math.max(completed, sequence);
      copies = dueCopies();
    } finally {
      unlock();
    }
    copies.forEach(Runnable::run);
  }

  DeviceException named(DeviceException e) {
    StringBuilder launches = new StringBuilder();
    if (unnamedLaunches > 0) {
      launches.append(unnamedLaunches).append(" earlier ones, ");
    }
    launches.append(String.join(", ", launchesSinceWait));
    return new DeviceException(
        e.getMessage()
            + "; launches on "
            + name
            + " since the last good wait: "
            + (launches.isEmpty() ? "none" : launches)
            + " (DeviceOptions.synchronous(true) finds the one)",
        e.code(),
        e);
  }

  /** Ends a capture whose body failed; what failed is thrown by the caller. */
  private void abandon(Capture recording, Throwable failure) {
    capture = null;
    try {
      device.guard("BackendStream.endCapture", backend::endCapture).close();
    } catch (RuntimeException e) {
      failure.addSuppressed(e);
    }
    recording.pins.forEach(Lifetime::unpin);
  }

  private void locked(Runnable action) {
    lock();
    try {
      checkUsable();
      action.run();
    } finally {
      unlock();
    }
  }

  /** Enqueues under the lock, noting what is used. */
  private void enqueue(String what, List<Lifetime> lifetimes, Runnable action) {
    Capture recording = capture;
    long sequence = launched + 1;
    launched = sequence;
    for (Lifetime lifetime : lifetimes) {
      if (recording != null) {
        if (!recording.pins.contains(lifetime)) {
          lifetime.pin();
          recording.pins.add(lifetime);
        }
      } else {
        lifetime.use(this, sequence);
      }
    }
    if (launchesSinceWait.size() == NAMED_LAUNCHES) {
      launchesSinceWait.removeFirst();
      unnamedLaunches++;
    }
    launchesSinceWait.addLast(what);
    device.guard(what, action);
    if (device.options().synchronous() && !isCapturing()) {
      synchronize();
    }
  }

  private void ensureWorkspace(String what, long bytes) {
    Workspace current = workspace;
    if (current != null && current.bytes >= bytes) {
      return;
    }
    long have = current == null ? 0 : current.bytes;
    if (isCapturing()) {
      throw new IllegalStateException(
          what
              + ": needs "
              + bytes
              + " bytes of scratch, but "
              + have
              + " are reserved, and a capture cannot allocate; call stream.reserve("
              + bytes
              + ") before it");
    }
    if (workspaceLent) {
      throw new IllegalStateException(
          what
              + ": needs "
              + bytes
              + " bytes of scratch, but the tensor lent to "
              + name
              + " has "
              + have
              + "; lend a larger one, or none");
    }
    dropWorkspace();
    long rounded =
        Math.addExact(bytes, WORKSPACE_ALIGNMENT - 1) / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT;
    BackendMemory memory = device.allocateMemory("scratch of " + name, rounded);
    Lifetime lifetime =
        device.internalLifetime(
            "scratch of " + name,
            () -> {
              device.releaseMemory(memory, rounded);
            });
    workspace = new Workspace(this, memory, 0, rounded, lifetime);
    WorkspaceGrowthEvent.emit(device.info().selector(), name, have, rounded, what);
  }

  private void dropWorkspace() {
    Workspace old = workspace;
    workspace = null;
    if (old != null && !workspaceLent) {
      old.lifetime.close();
    }
    workspaceLent = false;
  }

  private void dropFence() {
    if (fence != null) {
      fence.close();
      fence = null;
    }
  }

  private List<Runnable> dueCopies() {
    List<Runnable> due = new ArrayList<>();
    for (Iterator<HostCopy> it = hostCopies.iterator(); it.hasNext(); ) {
      HostCopy copy = it.next();
      if (copy.sequence <= completed) {
        due.add(copy.copy);
        it.remove();
      }
    }
    return due;
  }

  private void checkUsable() {
    device.checkUsable();
    if (closed) {
      throw new IllegalStateException(name + " is closed; use it before close()");
    }
  }

  private void checkTensor(String call, String tensorName, Tensor tensor) {
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

  private void checkSame(String call, DataType type, long[] shape, Tensor tensor) {
    checkTensor(call, "the tensor", tensor);
    if (type != tensor.dataType() || !java.util.Arrays.equals(shape, tensor.shape())) {
      throw new IllegalArgumentException(
          call
              + ": expected the type and shape of the device's "
              + tensor
              + ", but was "
              + type.text()
              + java.util.Arrays.toString(shape));
    }
  }
}
