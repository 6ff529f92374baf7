package dev.weft.fake;

import dev.weft.DeviceLostException;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.DeviceDescriptor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A device in memory. Work runs when a test lets it, or when someone waits for it, so a test sees
 * what happens between the two. Whatever the api must never do (touch freed memory, close twice,
 * use anything after the device) becomes a violation.
 */
public final class FakeDevice implements BackendDevice {
  private final DeviceDescriptor descriptor;
  private final long capacity;
  private final List<String> violations = new ArrayList<>();
  private final List<String> log = new ArrayList<>();
  private final Set<Object> alive = new LinkedHashSet<>();
  private final Map<String, Supplier<? extends Throwable>> failures = new HashMap<>();
  private final Set<String> faults = new HashSet<>();
  private final List<FakeStream> streams = new ArrayList<>();
  private long used;
  private long pooled;
  private int trims;
  private boolean lost;
  private boolean closed;
  private Support support = Support.yes();
  private long workspace;
  private long pauseNanos;
  private long extraBytes;
  private boolean wraps = true;
  private @Nullable BackendKernel nextKernel;

  FakeDevice(DeviceDescriptor descriptor, long capacity) {
    this.descriptor = descriptor;
    this.capacity = capacity;
  }

  // ---- for tests ----

  /** What the api did wrong; tests expect none. */
  public synchronized List<String> violations() {
    return List.copyOf(violations);
  }

  /** Forgets violations that a test provoked. */
  public synchronized void forgive() {
    violations.clear();
  }

  /** What ran, was released, and so on, in order. */
  public synchronized List<String> log() {
    return List.copyOf(log);
  }

  public synchronized void clearLog() {
    log.clear();
  }

  /** What was made and is not closed. */
  public synchronized List<String> alive() {
    return alive.stream().map(Object::toString).toList();
  }

  public synchronized long used() {
    return used;
  }

  public synchronized int trims() {
    return trims;
  }

  /** Keeps bytes in a pool: part of the capacity until trimmed. */
  public synchronized void pool(long bytes) {
    pooled = bytes;
  }

  /** Makes the next call of that name throw. */
  public synchronized void failNext(String call, Supplier<? extends Throwable> failure) {
    failures.put(call, failure);
  }

  /** Makes the next work of that name fail on the device. */
  public synchronized void faultNext(String work) {
    faults.add(work);
  }

  public synchronized void lose() {
    lost = true;
  }

  public synchronized void support(Support support) {
    this.support = support;
  }

  /** Sets what every launch asks for. */
  public synchronized void workspace(long bytes) {
    workspace = bytes;
  }

  /** Makes every launch pause in its middle. */
  public synchronized void pauseNanos(long nanos) {
    pauseNanos = nanos;
  }

  public synchronized void extraBytes(long bytes) {
    extraBytes = bytes;
  }

  public synchronized void wraps(boolean wraps) {
    this.wraps = wraps;
  }

  /** Makes prepare return this. */
  public synchronized void nextKernel(BackendKernel kernel) {
    nextKernel = kernel;
  }

  /** Lets all streams run what is enqueued. */
  public void finish() {
    List<FakeStream> all;
    synchronized (this) {
      all = new ArrayList<>(streams);
    }
    all.forEach(FakeStream::finish);
  }

  public synchronized FakeStream stream(int index) {
    return streams.get(index);
  }

  // ---- for the other fakes ----

  synchronized void violation(String text) {
    violations.add(text);
  }

  synchronized void note(String text) {
    log.add(text);
  }

  synchronized boolean takeFault(String work) {
    return faults.remove(work);
  }

  synchronized long workspaceBytes() {
    return workspace;
  }

  synchronized long pauseNanos() {
    return pauseNanos;
  }

  synchronized long extraBytes() {
    return extraBytes;
  }

  /** Every call passes here. */
  void enter(String call) {
    Supplier<? extends Throwable> failure;
    synchronized (this) {
      if (closed) {
        violations.add(call + " after the device was closed");
      }
      if (lost && !call.endsWith("close")) {
        throw new DeviceLostException("the fake device fell off the bus in " + call, null);
      }
      failure = failures.remove(call);
    }
    if (failure != null) {
      FakeDevice.<RuntimeException>sneak(failure.get());
    }
  }

  @SuppressWarnings({"unchecked", "TypeParameterUnusedInFormals"})
  private static <T extends Throwable> void sneak(Throwable t) throws T {
    throw (T) t; // providers may be written in languages without checked exceptions
  }

  synchronized <T> T made(T thing) {
    alive.add(thing);
    return thing;
  }

  synchronized void closed(Object thing) {
    if (!alive.remove(thing)) {
      violations.add(thing + " closed twice");
    }
    if (closed) {
      violations.add(thing + " closed after the device");
    }
    log.add("close " + thing);
  }

  synchronized void free(long bytes) {
    used -= bytes;
  }

  synchronized boolean isAlive(Object thing) {
    return alive.contains(thing);
  }

  // ---- the SPI ----

  @Override
  public DeviceDescriptor descriptor() {
    enter("descriptor");
    return descriptor;
  }

  @Override
  public Support supports(OperationSpec<?> spec) {
    enter("supports");
    synchronized (this) {
      return support;
    }
  }

  @Override
  public BackendKernel prepare(OperationSpec<?> spec) {
    enter("prepare");
    synchronized (this) {
      if (nextKernel != null) {
        return nextKernel;
      }
    }
    return switch (spec) {
      case MobaAttentionSpec _ -> made(new FakeKernels.Moba(this));
      case MoeDispatchSpec _ -> made(new FakeKernels.Moe(this));
      case CausalConv1dSpec _ -> made(new FakeKernels.Conv1d(this));
      default -> throw new IllegalStateException("prepare without support: " + spec);
    };
  }

  @Override
  public BackendMemory allocate(long bytes) {
    enter("allocate");
    synchronized (this) {
      if (bytes > capacity - used - pooled) {
        throw new DeviceOutOfMemoryException("fake", bytes, capacity - used - pooled, capacity);
      }
      used += bytes;
      return made(new FakeMemory(this, MemorySegment.ofArray(new byte[(int) bytes]), bytes));
    }
  }

  @Override
  public BackendHostMemory allocateHost(long bytes) {
    enter("allocateHost");
    return made(new HostMemory(this, Arena.ofAuto().allocate(bytes)));
  }

  @Override
  public Optional<BackendMemory> wrap(MemorySegment segment) {
    enter("wrap");
    synchronized (this) {
      return wraps ? Optional.of(made(new FakeMemory(this, segment, 0))) : Optional.empty();
    }
  }

  /** Memory that starts some bytes after a multiple of 256, as interop may wrap it. */
  public BackendMemory misaligned(long bytes, int by) {
    return made(new FakeMemory(this, MemorySegment.ofArray(new byte[(int) bytes]), 0, by));
  }

  @Override
  public BackendStream newStream() {
    enter("newStream");
    synchronized (this) {
      FakeStream stream = made(new FakeStream(this, "stream" + streams.size()));
      streams.add(stream);
      return stream;
    }
  }

  @Override
  public synchronized long freeBytes() {
    return capacity - used - pooled;
  }

  @Override
  public synchronized long pooledBytes() {
    return pooled;
  }

  @Override
  public void trim() {
    enter("trim");
    synchronized (this) {
      pooled = 0;
      trims++;
    }
  }

  @Override
  public <T> Optional<T> extension(Class<T> type) {
    enter("extension");
    return type.isInstance(this) ? Optional.of(type.cast(this)) : Optional.empty();
  }

  @Override
  public void close() {
    enter("close");
    synchronized (this) {
      for (Object thing : alive) {
        violations.add("left open: " + thing);
      }
      log.add("close device");
      closed = true;
    }
  }

  /** Pinned memory, so to speak. */
  record HostMemory(FakeDevice device, MemorySegment segment) implements BackendHostMemory {
    @Override
    public void close() {
      device.closed(this);
      segment.fill((byte) 0xee);
    }

    @Override
    public boolean equals(@Nullable Object other) {
      return this == other;
    }

    @Override
    public int hashCode() {
      return System.identityHashCode(this);
    }

    @Override
    public String toString() {
      return "host memory " + segment.byteSize();
    }
  }
}
