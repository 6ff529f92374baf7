package dev.weft;

import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * An open device: allocates tensors, makes streams and prepares operations. Safe for use by several
 * threads. {@link #close()} drains its streams, then closes what is still open on it, youngest
 * first.
 */
public final class Device implements AutoCloseable {
  private final BackendDevice backend;
  private final DeviceInfo info;
  private final DeviceOptions options;
  private final AtomicReference<@Nullable DeviceLostException> lost = new AtomicReference<>();
  private final AtomicInteger streams = new AtomicInteger();
  // Guarded by itself: the lifetimes and streams that are open, oldest first. They are compared by
  // identity, as neither defines equals.
  private final Set<Object> open = new LinkedHashSet<>();
  private final Object memoryLock = new Object();
  private final Object defaultStreamLock = new Object();
  final Reaper reaper = new Reaper();
  private volatile @Nullable Stream defaultStream;
  private long live;
  private long peak;
  // Written under the lock of open.
  private volatile boolean closing;
  private volatile boolean released;
  private @Nullable Throwable releaseFailure;

  Device(BackendDevice backend, DeviceInfo info, DeviceOptions options) {
    this.backend = backend;
    this.info = info;
    this.options = options;
  }

  /**
   * Returns what is known of the device. Works on a lost or closed device too.
   *
   * @return the information
   */
  public DeviceInfo info() {
    return info;
  }

  /**
   * Returns how the device was opened.
   *
   * @return the options
   */
  public DeviceOptions options() {
    return options;
  }

  /**
   * Tells whether the device is gone for good.
   *
   * @return true once any call found it lost
   */
  public boolean isLost() {
    return lost.get() != null;
  }

  /**
   * Returns the stream that transfers without a named stream use. It lives as long as the device.
   *
   * @return the default stream
   */
  public Stream defaultStream() {
    checkUsable();
    Stream stream = defaultStream;
    if (stream == null) {
      synchronized (defaultStreamLock) {
        stream = defaultStream;
        if (stream == null) {
          stream = newStream("default stream of " + info.selector());
          defaultStream = stream;
        }
      }
    }
    return stream;
  }

  /**
   * Makes an in-order stream, independent of all others.
   *
   * @return a stream, to be closed
   */
  public Stream newStream() {
    checkUsable();
    return newStream("stream " + streams.incrementAndGet() + " of " + info.selector());
  }

  private Stream newStream(String name) {
    return adopt(guard("BackendDevice.newStream", backend::newStream), name);
  }

  /**
   * Makes a stream of one that an interop interface wrapped. Where its owner captures it into a
   * graph of their own, whatever those launches name must stay open until that graph is gone, and
   * so must this stream, which owns their scratch: Weft does not see the graph's replays.
   *
   * @param stream a stream of this device, such as {@link dev.weft.interop.CudaInterop} gives
   * @return a stream, to be closed; the native stream stays its owner's
   */
  public Stream wrap(BackendStream stream) {
    checkUsable();
    return adopt(stream, "wrapped stream " + streams.incrementAndGet() + " of " + info.selector());
  }

  private Stream adopt(BackendStream stream, String name) {
    Stream adopted = new Stream(this, stream, name);
    try {
      remember(adopted);
    } catch (IllegalStateException e) {
      release(name, stream::close);
      throw e;
    }
    return adopted;
  }

  /**
   * Allocates a tensor with any content.
   *
   * @param dataType the element type
   * @param shape the extents, outermost first; zeros are legal
   * @return a contiguous tensor, to be closed
   * @throws DeviceOutOfMemoryException if there is too little device memory, with the numbers
   */
  public Tensor allocate(DataType dataType, long... shape) {
    checkUsable();
    long[] extents = shape.clone();
    long bytes = Math.max(Shapes.bytes(dataType, extents), 1);
    String what = "tensor " + dataType.text() + Arrays.toString(extents);
    BackendMemory memory = allocateMemory(what, bytes);
    return tensor(
        what, dataType, extents, memory, Tensor.UNKNOWN, () -> releaseMemory(memory, bytes));
  }

  /**
   * Copies a host tensor to the device, and waits.
   *
   * @param source the host tensor
   * @return a contiguous tensor of the same type and shape, to be closed
   */
  public Tensor upload(HostTensor source) {
    Tensor tensor = allocate(source.dataType(), source.shape());
    try {
      Stream stream = defaultStream();
      stream.upload(source, tensor);
      stream.synchronize();
      return tensor;
    } catch (Throwable t) {
      tensor.close();
      throw t;
    }
  }

  /**
   * Makes a tensor of host memory, without a copy.
   *
   * @param segment native memory; the caller keeps it alive until the tensor is closed and the
   *     device has been waited for
   * @param dataType the element type
   * @param shape the extents, outermost first
   * @return a contiguous tensor over the segment, to be closed
   * @throws IllegalArgumentException if the size does not fit, or the device cannot alias host
   *     memory
   */
  public Tensor wrap(MemorySegment segment, DataType dataType, long... shape) {
    checkUsable();
    HostTensor.of(dataType, segment, shape); // checks the size
    Optional<BackendMemory> memory =
        segment.isNative()
            ? guard("BackendDevice.wrap", () -> backend.wrap(segment))
            : Optional.empty();
    if (memory.isEmpty()) {
      throw new IllegalArgumentException(
          "wrap: "
              + info.selector()
              + " cannot use this "
              + (segment.isNative() ? "native" : "heap")
              + " segment in place; upload it instead");
    }
    return wrap(memory.get(), dataType, shape, segment.address());
  }

  /**
   * Makes a tensor of memory that an interop interface wrapped.
   *
   * @param memory memory of this device, such as {@link dev.weft.interop.CudaInterop} gives
   * @param dataType the element type
   * @param shape the extents, outermost first
   * @return a contiguous tensor at the memory's start, to be closed
   */
  public Tensor wrap(BackendMemory memory, DataType dataType, long... shape) {
    checkUsable();
    return wrap(memory, dataType, shape, Tensor.UNKNOWN);
  }

  private Tensor wrap(BackendMemory memory, DataType dataType, long[] shape, long hostAddress) {
    long[] extents = shape.clone();
    long bytes = Shapes.bytes(dataType, extents);
    if (bytes > memory.bytes()) {
      throw new IllegalArgumentException(
          "wrap: "
              + dataType.text()
              + Arrays.toString(extents)
              + " needs "
              + bytes
              + " bytes, but the memory has "
              + memory.bytes());
    }
    if (memory.misalignment() % dataType.bytes() != 0) {
      throw new IllegalArgumentException(
          "wrap: "
              + dataType.text()
              + " has elements of "
              + dataType.bytes()
              + " bytes, but the memory starts "
              + memory.misalignment()
              + " bytes after a multiple of 256");
    }
    String what = "wrapped tensor " + dataType.text() + Arrays.toString(extents);
    return tensor(what, dataType, extents, memory, hostAddress, memory::close);
  }

  private Tensor tensor(
      String what,
      DataType dataType,
      long[] shape,
      BackendMemory memory,
      long hostAddress,
      Runnable release) {
    Lifetime lifetime = lifetime(what, release);
    return new Tensor(
        this,
        dataType,
        shape,
        Shapes.rowMajorStrides(shape),
        memory,
        hostAddress,
        0,
        lifetime,
        true);
  }

  /**
   * Allocates host memory that transfers at full speed.
   *
   * @param bytes its size
   * @return the buffer, to be closed
   */
  public HostBuffer allocateHost(long bytes) {
    checkUsable();
    if (bytes < 0) {
      throw new IllegalArgumentException(
          "allocateHost: expected at least 0 bytes, but was " + bytes);
    }
    return new HostBuffer(this, hostMemory(bytes), bytes);
  }

  /**
   * Says whether {@link #prepare} and every launch would work. Pure and fast.
   *
   * @param spec any spec
   * @return yes, or no with a reason
   */
  public Support supports(OperationSpec<?> spec) {
    checkUsable();
    if (spec.requiredSpi().compareTo(info.spiVersion()) > 0) {
      return Support.no(
          spec.newestOption()
              + " came with SPI "
              + spec.requiredSpi()
              + ", and provider '"
              + info.providerId()
              + "' was written for "
              + info.spiVersion());
    }
    return guard("BackendDevice.supports", () -> backend.supports(spec));
  }

  /**
   * Compiles a spec: every variant that a launch may need.
   *
   * @param spec what is wanted
   * @param <K> the operation's kernel type
   * @return the kernel, to be closed; immutable and shared by threads
   * @throws UnsupportedSpecException with the reason, if the device cannot run it
   */
  public <K extends Kernel<?>> K prepare(OperationSpec<K> spec) {
    Support support = supports(spec);
    if (!support.isSupported()) {
      throw new UnsupportedSpecException(spec.text(), info.selector(), support.reason());
    }
    PrepareEvent event = new PrepareEvent();
    event.begin();
    BackendKernel kernel = guard("BackendDevice.prepare", () -> backend.prepare(spec));
    Lifetime lifetime = lifetime("kernel " + spec, kernel::close);
    K wrapped;
    try {
      wrapped = spec.wrap(new Prepared(this, spec, kernel, lifetime));
    } catch (Throwable t) {
      lifetime.close();
      throw t;
    }
    if (event.shouldCommit()) {
      event.device = info.selector();
      event.spec = spec.text();
      event.commit();
    }
    return wrapped;
  }

  /**
   * Returns the device's memory at this moment.
   *
   * @return live, peak, pooled, limit and free bytes
   */
  public MemoryStatus memory() {
    checkUsable();
    reaper.poll();
    long pooled = guard("BackendDevice.pooledBytes", backend::pooledBytes);
    long free = guard("BackendDevice.freeBytes", backend::freeBytes);
    synchronized (memoryLock) {
      return new MemoryStatus(live, peak, pooled, options.memoryLimit(), free);
    }
  }

  /** Releases what closed objects still hold, where their launches are done, and pooled memory. */
  public void trim() {
    checkUsable();
    reaper.poll();
    guard("BackendDevice.trim", backend::trim);
  }

  /**
   * Finds an interface that only some backends have, such as those of {@link dev.weft.interop}.
   *
   * @param type the interface
   * @param <T> the interface
   * @return the extension, or empty if the backend has none
   */
  public <T> Optional<T> extension(Class<T> type) {
    checkUsable();
    return guard("BackendDevice.extension", () -> backend.extension(type));
  }

  /**
   * Lists what was made on this device and not closed: leaks, if the program thinks it is done.
   *
   * @return a line for each, oldest first; the default stream is not among them
   */
  public List<String> openObjects() {
    synchronized (open) {
      List<String> names = new ArrayList<>();
      for (Object object : open) {
        if (object != defaultStream) {
          names.add(object instanceof Lifetime lifetime ? lifetime.what() : object.toString());
        }
      }
      return names;
    }
  }

  /**
   * Drains all streams, closes what is still open, youngest first, and releases the device. Twice
   * is harmless. Calls of other threads fail from then on; none may be under way but waits.
   *
   * @throws DeviceException if work still in flight failed; the device is released all the same
   * @throws ProviderException if the provider failed to release something, now or earlier
   * @throws IllegalStateException in the body of a capture
   */
  @Override
  public void close() {
    List<Object> objects;
    synchronized (open) {
      if (closing) {
        return;
      }
      for (Object object : open) {
        if (object instanceof Stream stream && stream.isCapturedByThisThread()) {
          throw new IllegalStateException("close: " + stream + " is being captured");
        }
      }
      closing = true;
      objects = new ArrayList<>(open);
    }
    RuntimeException fault = null;
    // All at once, and before anything is closed: what closes first may be in use on any of them.
    for (Object object : objects) {
      if (object instanceof Stream stream) {
        fault = first(fault, stream.drain());
      }
    }
    for (Object object : objects.reversed()) {
      if (object instanceof Stream stream) {
        fault = first(fault, stream.closeNow());
      } else if (object instanceof Lifetime lifetime) {
        lifetime.close();
      }
    }
    reaper.releaseAll();
    release("the device", backend::close);
    released = true;
    Throwable failure = releaseFailure();
    if (failure != null) {
      fault = first(fault, new ProviderException(info.providerId(), "close", failure));
    }
    if (fault != null) {
      throw fault;
    }
  }

  private static @Nullable RuntimeException first(
      @Nullable RuntimeException fault, @Nullable RuntimeException next) {
    if (fault != null && next != null) {
      fault.addSuppressed(next);
    }
    return fault == null ? next : fault;
  }

  @Override
  public String toString() {
    return info.toString();
  }

  // ---- for the api's own use ----

  @Nullable Stream defaultStreamOrNull() {
    return defaultStream;
  }

  void checkUsable() {
    if (closing) {
      throw closedException();
    }
    DeviceLostException first = lost.get();
    if (first != null) {
      throw new DeviceLostException(
          "device " + info.selector() + " was lost earlier: " + first.getMessage(), first);
    }
  }

  /**
   * What a stream throws that found the device lost; later calls throw it again.
   *
   * @param launches those that it may have been lost in
   */
  DeviceLostException lostAmong(String launches, DeviceLostException found) {
    DeviceLostException named =
        new DeviceLostException(found.getMessage() + "; " + launches, found);
    lost.compareAndSet(found, named);
    return named;
  }

  /** Calls the provider, and turns what it may not throw into what the contract says. */
  <T> T guard(String call, Supplier<T> body) {
    T result;
    try {
      result = body.get();
    } catch (DeviceLostException e) {
      lost.compareAndSet(null, e);
      throw e;
    } catch (WeftException | VirtualMachineError e) {
      throw e;
    } catch (Throwable t) {
      throw new ProviderException(info.providerId(), call, t);
    }
    if (result == null) {
      throw new ProviderException(
          info.providerId(), call, new NullPointerException(call + " returned null"));
    }
    return result;
  }

  /**
   * Releases something of the provider's. What that throws concerns nobody who is there to catch
   * it: {@link #close()} tells it.
   */
  void release(String what, Runnable body) {
    if (released) {
      return; // the provider's device is gone, and everything with it
    }
    try {
      body.run();
    } catch (DeviceLostException e) {
      lost.compareAndSet(null, e);
    } catch (VirtualMachineError e) {
      throw e;
    } catch (Throwable t) {
      if (!isLost()) {
        Throwable failure = new WeftException("releasing " + what + " failed: " + t, t);
        synchronized (memoryLock) {
          if (releaseFailure == null) {
            releaseFailure = failure;
          } else {
            releaseFailure.addSuppressed(failure);
          }
        }
      }
    }
  }

  private @Nullable Throwable releaseFailure() {
    synchronized (memoryLock) {
      return releaseFailure;
    }
  }

  private IllegalStateException closedException() {
    return new IllegalStateException("device " + info.selector() + " is closed");
  }

  void guard(String call, Runnable body) {
    Object _ =
        guard(
            call,
            () -> {
              body.run();
              return Boolean.TRUE;
            });
  }

  BackendMemory allocateMemory(String what, long bytes) {
    reaper.poll();
    AllocationEvent event = new AllocationEvent();
    event.begin();
    reserveLive(what, bytes);
    BackendMemory memory;
    try {
      memory = allocateOnce(what, bytes);
    } catch (Throwable t) {
      synchronized (memoryLock) {
        live -= bytes;
      }
      throw t;
    }
    if (event.shouldCommit()) {
      event.device = info.selector();
      event.purpose = what;
      event.bytes = bytes;
      event.commit();
    }
    return memory;
  }

  private BackendMemory allocateOnce(String what, long bytes) {
    try {
      return guard("BackendDevice.allocate", () -> backend.allocate(bytes));
    } catch (DeviceOutOfMemoryException first) {
      // What is closed but in flight, and what the backend pools, may be enough.
      drainForMemory();
      guard("BackendDevice.trim", backend::trim);
      try {
        return guard("BackendDevice.allocate", () -> backend.allocate(bytes));
      } catch (DeviceOutOfMemoryException e) {
        throw e.askedFor(what, bytes);
      }
    }
  }

  /** Counts bytes as live, or says why they may not be. */
  void reserveLive(String what, long bytes) {
    long limit = options.memoryLimit();
    if (limit > 0 && !fits(bytes, limit)) {
      drainForMemory();
    }
    synchronized (memoryLock) {
      if (limit > 0 && bytes > limit - live) {
        throw new DeviceOutOfMemoryException(what, bytes, limit - live, limit);
      }
      live += bytes;
      peak = Math.max(peak, live);
    }
  }

  private boolean fits(long bytes, long limit) {
    synchronized (memoryLock) {
      return bytes <= limit - live;
    }
  }

  /** Waits for what closed objects wait for. Only when memory has run out. */
  private void drainForMemory() {
    List<Stream> streams = new ArrayList<>();
    synchronized (open) {
      for (Object object : open) {
        if (object instanceof Stream stream) {
          streams.add(stream);
        }
      }
    }
    streams.forEach(Stream::drainForMemory);
    reaper.pollFully();
  }

  void releaseMemory(BackendMemory memory, long bytes) {
    try {
      memory.close();
    } finally {
      releaseLive(bytes);
    }
  }

  void releaseLive(long bytes) {
    synchronized (memoryLock) {
      live -= bytes;
    }
  }

  BackendHostMemory hostMemory(long bytes) {
    return guard("BackendDevice.allocateHost", () -> backend.allocateHost(Math.max(bytes, 1)));
  }

  /**
   * A lifetime that counts as open until it is closed. On a device that is closing, releases at
   * once and throws.
   */
  Lifetime lifetime(String what, Runnable release) {
    Lifetime lifetime = new Lifetime(this, what, release);
    try {
      remember(lifetime);
    } catch (IllegalStateException e) {
      lifetime.releaseNow();
      throw e;
    }
    return lifetime;
  }

  /** A lifetime of the api's own, which nobody could forget to close. */
  Lifetime internalLifetime(String what, Runnable release) {
    return new Lifetime(this, what, release);
  }

  private void remember(Object object) {
    synchronized (open) {
      if (closing) {
        throw closedException();
      }
      open.add(object);
    }
  }

  void forget(Object object) {
    synchronized (open) {
      open.remove(object);
    }
  }
}
