package dev.weft.backend.opencl.driver;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;

/**
 * Calls on queues, buffers, kernels and events, by raw handles. Each throws what {@link Status}
 * makes of a failure. Nothing here waits but what says so.
 */
public final class Calls {
  private static final long QUEUE_PROFILING = 2;
  private static final int QUEUE_CONTEXT = 0x1090;
  private static final long MEM_READ_WRITE = 1;
  private static final long MEM_ALLOC_HOST_PTR = 16;
  private static final long MAP_READ_WRITE = 3;
  private static final int MEM_SIZE = 0x1102;
  private static final int MEM_HOST_PTR = 0x1103;
  private static final int EVENT_STATUS = 0x11D3;
  private static final int PROFILING_END = 0x1283;
  private static final int KERNEL_GROUP_SIZE = 0x11B0;

  private final MethodHandle createQueue;
  private final MethodHandle retainQueue;
  private final MethodHandle releaseQueue;
  private final MethodHandle queueInfo;
  private final MethodHandle flush;
  private final MethodHandle finish;
  private final MethodHandle createBuffer;
  private final MethodHandle retainMemory;
  private final MethodHandle releaseMemory;
  private final MethodHandle memoryInfo;
  private final MethodHandle map;
  private final MethodHandle unmap;
  private final MethodHandle write;
  private final MethodHandle read;
  private final MethodHandle copy;
  private final MethodHandle fill;
  private final MethodHandle createKernel;
  private final MethodHandle releaseKernel;
  private final MethodHandle kernelGroupInfo;
  private final MethodHandle setArgument;
  private final MethodHandle dispatch;
  private final MethodHandle marker;
  private final MethodHandle barrier;
  private final MethodHandle waitForEvents;
  private final MethodHandle eventInfo;
  private final MethodHandle eventProfiling;
  private final MethodHandle releaseEvent;

  Calls(SymbolLookup symbols) {
    Binder b = new Binder(symbols);
    createQueue = b.create("clCreateCommandQueue", JAVA_LONG, JAVA_LONG, JAVA_LONG, ADDRESS);
    retainQueue = b.bind("clRetainCommandQueue", JAVA_LONG);
    releaseQueue = b.bind("clReleaseCommandQueue", JAVA_LONG);
    queueInfo = b.bind("clGetCommandQueueInfo", JAVA_LONG, JAVA_INT, JAVA_LONG, ADDRESS, ADDRESS);
    flush = b.bind("clFlush", JAVA_LONG);
    finish = b.bind("clFinish", JAVA_LONG);
    createBuffer = b.create("clCreateBuffer", JAVA_LONG, JAVA_LONG, JAVA_LONG, ADDRESS, ADDRESS);
    retainMemory = b.bind("clRetainMemObject", JAVA_LONG);
    releaseMemory = b.bind("clReleaseMemObject", JAVA_LONG);
    memoryInfo = b.bind("clGetMemObjectInfo", JAVA_LONG, JAVA_INT, JAVA_LONG, ADDRESS, ADDRESS);
    map =
        b.create(
            "clEnqueueMapBuffer",
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            ADDRESS,
            ADDRESS,
            ADDRESS);
    unmap =
        b.bind(
            "clEnqueueUnmapMemObject", JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_INT, ADDRESS, ADDRESS);
    MemoryLayout[] transfer = {
      JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_LONG, JAVA_LONG, ADDRESS, JAVA_INT, ADDRESS, ADDRESS
    };
    write = b.bind("clEnqueueWriteBuffer", transfer);
    read = b.bind("clEnqueueReadBuffer", transfer);
    copy =
        b.bind(
            "clEnqueueCopyBuffer",
            JAVA_LONG,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            ADDRESS,
            ADDRESS);
    fill =
        b.bind(
            "clEnqueueFillBuffer",
            JAVA_LONG,
            JAVA_LONG,
            ADDRESS,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            ADDRESS,
            ADDRESS);
    createKernel = b.create("clCreateKernel", JAVA_LONG, ADDRESS, ADDRESS);
    releaseKernel = b.bind("clReleaseKernel", JAVA_LONG);
    kernelGroupInfo =
        b.bind(
            "clGetKernelWorkGroupInfo",
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            JAVA_LONG,
            ADDRESS,
            ADDRESS);
    setArgument = b.bind("clSetKernelArg", JAVA_LONG, JAVA_INT, JAVA_LONG, ADDRESS);
    dispatch =
        b.bind(
            "clEnqueueNDRangeKernel",
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_INT,
            ADDRESS,
            ADDRESS);
    marker = b.bind("clEnqueueMarkerWithWaitList", JAVA_LONG, JAVA_INT, ADDRESS, ADDRESS);
    barrier = b.bind("clEnqueueBarrierWithWaitList", JAVA_LONG, JAVA_INT, ADDRESS, ADDRESS);
    waitForEvents = b.bind("clWaitForEvents", JAVA_INT, ADDRESS);
    eventInfo = b.bind("clGetEventInfo", JAVA_LONG, JAVA_INT, JAVA_LONG, ADDRESS, ADDRESS);
    eventProfiling =
        b.bind("clGetEventProfilingInfo", JAVA_LONG, JAVA_INT, JAVA_LONG, ADDRESS, ADDRESS);
    releaseEvent = b.bind("clReleaseEvent", JAVA_LONG);
  }

  /** Finds functions. */
  private record Binder(SymbolLookup symbols) {
    @SuppressWarnings("restricted") // the signatures are those of cl.h
    private MethodHandle bind(MemoryLayout result, String name, MemoryLayout... arguments) {
      return Linker.nativeLinker()
          .downcallHandle(symbols.findOrThrow(name), FunctionDescriptor.of(result, arguments));
    }

    /** One that returns a code. */
    MethodHandle bind(String name, MemoryLayout... arguments) {
      return bind(JAVA_INT, name, arguments);
    }

    /** One that returns a handle, and a code through its last argument. */
    MethodHandle create(String name, MemoryLayout... arguments) {
      return bind(JAVA_LONG, name, arguments);
    }
  }

  /** A native call that returns a code. */
  private interface Call {
    int run() throws Throwable;
  }

  private static int code(Call call) {
    try {
      return call.run();
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable e) {
      throw new AssertionError(e); // a downcall declares Throwable and throws nothing else
    }
  }

  private static void checked(String name, Call call) {
    Status.check(name, code(call));
  }

  private interface Creation {
    long run(MemorySegment code) throws Throwable;
  }

  /** What a creation gave: a handle if the code is success. */
  public record Created(long handle, int code) {
    /** The handle, or the exception that the code is. */
    public long orThrow(String call) {
      Status.check(call, code);
      return handle;
    }
  }

  private static Created created(Creation creation) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment code = arena.allocate(JAVA_INT);
      long handle = creation.run(code);
      return new Created(handle, code.get(JAVA_INT, 0));
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable e) {
      throw new AssertionError(e); // as above
    }
  }

  private interface Query {
    int run(MemorySegment value) throws Throwable;
  }

  private static long queried(String name, Query query) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment value = arena.allocate(JAVA_LONG);
      checked(name, () -> query.run(value));
      return value.get(JAVA_LONG, 0);
    }
  }

  // ---- queues

  /** An in-order queue; timed if the driver can. */
  public long createQueue(long context, long device, boolean profiling) {
    return created(code ->
            (long) createQueue.invokeExact(context, device, profiling ? QUEUE_PROFILING : 0L, code))
        .orThrow("clCreateCommandQueue");
  }

  public void retainQueue(long queue) {
    checked("clRetainCommandQueue", () -> (int) retainQueue.invokeExact(queue));
  }

  public void releaseQueue(long queue) {
    checked("clReleaseCommandQueue", () -> (int) releaseQueue.invokeExact(queue));
  }

  /** The context that a queue belongs to. */
  public long contextOf(long queue) {
    return queried(
        "clGetCommandQueueInfo",
        value -> (int) queueInfo.invokeExact(queue, QUEUE_CONTEXT, 8L, value, MemorySegment.NULL));
  }

  /** Lets the device begin with what is enqueued. */
  public void flush(long queue) {
    checked("clFlush", () -> (int) flush.invokeExact(queue));
  }

  /** Waits for all that is enqueued. */
  public void finish(long queue) {
    Status.checkWait("clFinish", code(() -> (int) finish.invokeExact(queue)));
  }

  // ---- memory

  /** A buffer. Some drivers allocate it when it is first used only. */
  public Created createBuffer(long context, long bytes) {
    return created(code ->
        (long) createBuffer.invokeExact(context, MEM_READ_WRITE, bytes, MemorySegment.NULL, code));
  }

  /** A buffer in host memory that transfers at full speed. */
  public Created createHostBuffer(long context, long bytes) {
    return created(code ->
        (long)
            createBuffer.invokeExact(
                context, MEM_READ_WRITE | MEM_ALLOC_HOST_PTR, bytes, MemorySegment.NULL, code));
  }

  /** Waits, and gives the host address of a whole buffer. */
  public Created map(long queue, long buffer, long bytes) {
    return created(code ->
        (long)
            map.invokeExact(
                queue,
                buffer,
                1,
                MAP_READ_WRITE,
                0L,
                bytes,
                0,
                MemorySegment.NULL,
                MemorySegment.NULL,
                code));
  }

  public void unmap(long queue, long buffer, long address) {
    checked(
        "clEnqueueUnmapMemObject",
        () ->
            (int)
                unmap.invokeExact(
                    queue, buffer, address, 0, MemorySegment.NULL, MemorySegment.NULL));
  }

  public void retainMemory(long buffer) {
    checked("clRetainMemObject", () -> (int) retainMemory.invokeExact(buffer));
  }

  public void releaseMemory(long buffer) {
    checked("clReleaseMemObject", () -> (int) releaseMemory.invokeExact(buffer));
  }

  /** A buffer's size. */
  public long bytesOf(long buffer) {
    return queried(
        "clGetMemObjectInfo",
        value -> (int) memoryInfo.invokeExact(buffer, MEM_SIZE, 8L, value, MemorySegment.NULL));
  }

  /** The memory of the host's that a buffer was made over, or 0. */
  public long hostPointerOf(long buffer) {
    return queried(
        "clGetMemObjectInfo",
        value -> (int) memoryInfo.invokeExact(buffer, MEM_HOST_PTR, 8L, value, MemorySegment.NULL));
  }

  public void write(long queue, long buffer, long offset, MemorySegment source, long bytes) {
    checked(
        "clEnqueueWriteBuffer",
        () ->
            (int)
                write.invokeExact(
                    queue,
                    buffer,
                    0,
                    offset,
                    bytes,
                    source,
                    0,
                    MemorySegment.NULL,
                    MemorySegment.NULL));
  }

  /** Waits until a byte is written: the driver has then allocated the buffer. */
  public int touch(long queue, long buffer, long offset) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment zero = arena.allocate(1);
      return code(() ->
          (int)
              write.invokeExact(
                  queue, buffer, 1, offset, 1L, zero, 0, MemorySegment.NULL, MemorySegment.NULL));
    }
  }

  public void read(long queue, long buffer, long offset, MemorySegment target, long bytes) {
    checked(
        "clEnqueueReadBuffer",
        () ->
            (int)
                read.invokeExact(
                    queue,
                    buffer,
                    0,
                    offset,
                    bytes,
                    target,
                    0,
                    MemorySegment.NULL,
                    MemorySegment.NULL));
  }

  public void copy(
      long queue, long source, long sourceOffset, long target, long targetOffset, long bytes) {
    checked(
        "clEnqueueCopyBuffer",
        () ->
            (int)
                copy.invokeExact(
                    queue,
                    source,
                    target,
                    sourceOffset,
                    targetOffset,
                    bytes,
                    0,
                    MemorySegment.NULL,
                    MemorySegment.NULL));
  }

  /** Repeats a pattern, whose size divides offset and bytes; the driver copies it. */
  public void fill(long queue, long buffer, MemorySegment pattern, long offset, long bytes) {
    checked(
        "clEnqueueFillBuffer",
        () ->
            (int)
                fill.invokeExact(
                    queue,
                    buffer,
                    pattern,
                    pattern.byteSize(),
                    offset,
                    bytes,
                    0,
                    MemorySegment.NULL,
                    MemorySegment.NULL));
  }

  // ---- kernels

  public long createKernel(long program, String function) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocateFrom(function);
      return created(code -> (long) createKernel.invokeExact(program, name, code))
          .orThrow("clCreateKernel(" + function + ")");
    }
  }

  public void releaseKernel(long kernel) {
    checked("clReleaseKernel", () -> (int) releaseKernel.invokeExact(kernel));
  }

  /** The most work-items of a group of this kernel. */
  public long mostGroupSize(long kernel, long device) {
    return queried(
        "clGetKernelWorkGroupInfo",
        value ->
            (int)
                kernelGroupInfo.invokeExact(
                    kernel, device, KERNEL_GROUP_SIZE, 8L, value, MemorySegment.NULL));
  }

  public void setArgument(long kernel, int index, long bytes, MemorySegment value) {
    int code = code(() -> (int) setArgument.invokeExact(kernel, index, bytes, value));
    if (code != Status.SUCCESS) {
      throw Status.failure("clSetKernelArg(" + index + ", " + bytes + " bytes)", code);
    }
  }

  /** Enqueues a kernel; sizes are three work-item counts each. */
  public int dispatch(long queue, long kernel, MemorySegment global, MemorySegment local) {
    return code(() ->
        (int)
            dispatch.invokeExact(
                queue,
                kernel,
                3,
                MemorySegment.NULL,
                global,
                local,
                0,
                MemorySegment.NULL,
                MemorySegment.NULL));
  }

  // ---- events

  /** An event that completes when all earlier work of the queue has. */
  public long marker(long queue) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment event = arena.allocate(JAVA_LONG);
      checked(
          "clEnqueueMarkerWithWaitList",
          () -> (int) marker.invokeExact(queue, 0, MemorySegment.NULL, event));
      return event.get(JAVA_LONG, 0);
    }
  }

  /** Makes later work of a queue wait for an event. */
  public void barrier(long queue, long event) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment list = arena.allocateFrom(JAVA_LONG, event);
      checked(
          "clEnqueueBarrierWithWaitList",
          () -> (int) barrier.invokeExact(queue, 1, list, MemorySegment.NULL));
    }
  }

  /** Waits for an event. */
  public void await(long event) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment list = arena.allocateFrom(JAVA_LONG, event);
      int code = code(() -> (int) waitForEvents.invokeExact(1, list));
      if (code == Status.EVENT_FAILED) {
        int status = status(event);
        code = status < 0 ? status : code;
      }
      Status.checkWait("clWaitForEvents", code);
    }
  }

  /** Whether an event is complete or has failed. */
  public boolean isComplete(long event) {
    return status(event) <= 0;
  }

  private int status(long event) {
    return (int)
        queried(
            "clGetEventInfo",
            value ->
                (int) eventInfo.invokeExact(event, EVENT_STATUS, 4L, value, MemorySegment.NULL));
  }

  /** The device's clock when an event completed, in nanoseconds. */
  public long completedAt(long event) {
    return queried(
        "clGetEventProfilingInfo",
        value ->
            (int) eventProfiling.invokeExact(event, PROFILING_END, 8L, value, MemorySegment.NULL));
  }

  public void releaseEvent(long event) {
    checked("clReleaseEvent", () -> (int) releaseEvent.invokeExact(event));
  }
}
