package dev.weft.backend.cuda.driver;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Optional;

/**
 * The driver's calls on streams, events and graphs, by raw handles. Each throws what {@link Status}
 * makes of a failure. The caller has bound the context.
 */
public final class StreamCalls {
  private static final int STREAM_NON_BLOCKING = 1;
  private static final int CAPTURE_RELAXED = 2;
  private static final int CAPTURE_ACTIVE = 1;

  private final Optional<TensorMaps> tensorMaps;
  private final MethodHandle launchKernel;
  private final MethodHandle launchKernelEx;
  private final MethodHandle copyToDevice;
  private final MethodHandle copyToHost;
  private final MethodHandle copyOnDevice;
  private final MethodHandle fill;
  private final MethodHandle streamCreate;
  private final MethodHandle streamDestroy;
  private final MethodHandle streamSynchronize;
  private final MethodHandle streamWaitEvent;
  private final MethodHandle streamIsCapturing;
  private final MethodHandle streamBeginCapture;
  private final MethodHandle streamEndCapture;
  private final MethodHandle eventCreate;
  private final MethodHandle eventDestroy;
  private final MethodHandle eventRecord;
  private final MethodHandle eventQuery;
  private final MethodHandle eventSynchronize;
  private final MethodHandle eventElapsedTime;
  private final MethodHandle graphInstantiate;
  private final MethodHandle graphLaunch;
  private final MethodHandle graphGetNodes;
  private final MethodHandle graphDestroy;
  private final MethodHandle graphExecDestroy;

  StreamCalls(SymbolLookup symbols) {
    tensorMaps = TensorMaps.find(symbols);
    Binder binder = new Binder(symbols);
    launchKernel =
        binder.bind(
            "cuLaunchKernel",
            JAVA_LONG,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_LONG,
            ADDRESS,
            ADDRESS);
    launchKernelEx = binder.bind("cuLaunchKernelEx", ADDRESS, JAVA_LONG, ADDRESS, ADDRESS);
    copyToDevice = binder.bind("cuMemcpyHtoDAsync_v2", JAVA_LONG, ADDRESS, JAVA_LONG, JAVA_LONG);
    copyToHost = binder.bind("cuMemcpyDtoHAsync_v2", ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    copyOnDevice = binder.bind("cuMemcpyDtoDAsync_v2", JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    fill = binder.bind("cuMemsetD8Async", JAVA_LONG, JAVA_BYTE, JAVA_LONG, JAVA_LONG);
    streamCreate = binder.bind("cuStreamCreate", ADDRESS, JAVA_INT);
    streamDestroy = binder.bind("cuStreamDestroy_v2", JAVA_LONG);
    streamSynchronize = binder.bind("cuStreamSynchronize", JAVA_LONG);
    streamWaitEvent = binder.bind("cuStreamWaitEvent", JAVA_LONG, JAVA_LONG, JAVA_INT);
    streamIsCapturing = binder.bind("cuStreamIsCapturing", JAVA_LONG, ADDRESS);
    streamBeginCapture = binder.bind("cuStreamBeginCapture_v2", JAVA_LONG, JAVA_INT);
    streamEndCapture = binder.bind("cuStreamEndCapture", JAVA_LONG, ADDRESS);
    eventCreate = binder.bind("cuEventCreate", ADDRESS, JAVA_INT);
    eventDestroy = binder.bind("cuEventDestroy_v2", JAVA_LONG);
    eventRecord = binder.bind("cuEventRecord", JAVA_LONG, JAVA_LONG);
    eventQuery = binder.bind("cuEventQuery", JAVA_LONG);
    eventSynchronize = binder.bind("cuEventSynchronize", JAVA_LONG);
    eventElapsedTime = binder.bind("cuEventElapsedTime", ADDRESS, JAVA_LONG, JAVA_LONG);
    graphInstantiate = binder.bind("cuGraphInstantiateWithFlags", ADDRESS, JAVA_LONG, JAVA_LONG);
    graphGetNodes = binder.bind("cuGraphGetNodes", JAVA_LONG, ADDRESS, ADDRESS);
    graphLaunch = binder.bind("cuGraphLaunch", JAVA_LONG, JAVA_LONG);
    graphDestroy = binder.bind("cuGraphDestroy", JAVA_LONG);
    graphExecDestroy = binder.bind("cuGraphExecDestroy", JAVA_LONG);
  }

  /** Finds functions that return a CUresult. */
  private record Binder(SymbolLookup symbols) {
    @SuppressWarnings("restricted") // the signatures are those of cuda.h
    MethodHandle bind(String name, MemoryLayout... arguments) {
      return Linker.nativeLinker()
          .downcallHandle(symbols.findOrThrow(name), FunctionDescriptor.of(JAVA_INT, arguments));
    }
  }

  /** A native call that returns a CUresult. */
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
    int run(MemorySegment handle) throws Throwable;
  }

  private static long created(String name, Creation creation) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment handle = arena.allocate(JAVA_LONG);
      checked(name, () -> creation.run(handle));
      return handle.get(JAVA_LONG, 0);
    }
  }

  /** The encoder of tensor maps, where the driver has one. */
  public Optional<TensorMaps> tensorMaps() {
    return tensorMaps;
  }

  /** Enqueues a kernel; parameters are the addresses of its arguments. */
  public void launch(
      long function,
      int gridX,
      int gridY,
      int blockX,
      int sharedBytes,
      long stream,
      MemorySegment parameters) {
    int code;
    try {
      code =
          (int)
              launchKernel.invokeExact(
                  function,
                  gridX,
                  gridY,
                  1,
                  blockX,
                  1,
                  1,
                  sharedBytes,
                  stream,
                  parameters,
                  MemorySegment.NULL);
    } catch (Throwable e) {
      throw new AssertionError(e); // a downcall declares Throwable and throws nothing
    }
    Status.check("cuLaunchKernel", code);
  }

  /** Enqueues a kernel by a CUlaunchConfig, which has what a plain launch cannot say. */
  public void launch(long function, MemorySegment configuration, MemorySegment parameters) {
    checked(
        "cuLaunchKernelEx",
        () ->
            (int)
                launchKernelEx.invokeExact(
                    configuration, function, parameters, MemorySegment.NULL));
  }

  public void copyToDevice(long target, MemorySegment source, long stream) {
    checked(
        "cuMemcpyHtoDAsync",
        () -> (int) copyToDevice.invokeExact(target, source, source.byteSize(), stream));
  }

  public void copyToHost(MemorySegment target, long source, long stream) {
    checked(
        "cuMemcpyDtoHAsync",
        () -> (int) copyToHost.invokeExact(target, source, target.byteSize(), stream));
  }

  public void copyOnDevice(long target, long source, long bytes, long stream) {
    checked(
        "cuMemcpyDtoDAsync", () -> (int) copyOnDevice.invokeExact(target, source, bytes, stream));
  }

  public void fill(long target, byte value, long bytes, long stream) {
    checked("cuMemsetD8Async", () -> (int) fill.invokeExact(target, value, bytes, stream));
  }

  public long createStream() {
    return created(
        "cuStreamCreate", handle -> (int) streamCreate.invokeExact(handle, STREAM_NON_BLOCKING));
  }

  public void destroyStream(long stream) {
    checked("cuStreamDestroy", () -> (int) streamDestroy.invokeExact(stream));
  }

  public void synchronizeStream(long stream) {
    checked("cuStreamSynchronize", () -> (int) streamSynchronize.invokeExact(stream));
  }

  public void await(long stream, long event) {
    checked("cuStreamWaitEvent", () -> (int) streamWaitEvent.invokeExact(stream, event, 0));
  }

  /** Whether work on the stream is being recorded. */
  public boolean isCapturing(long stream) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment status = arena.allocate(JAVA_INT);
      int code = code(() -> (int) streamIsCapturing.invokeExact(stream, status));
      // The legacy stream answers with an error while any other is captured; itself it cannot be.
      return code == Status.SUCCESS && status.get(JAVA_INT, 0) == CAPTURE_ACTIVE;
    }
  }

  /** Begins a capture that forbids other threads nothing. */
  public void beginCapture(long stream) {
    checked(
        "cuStreamBeginCapture",
        () -> (int) streamBeginCapture.invokeExact(stream, CAPTURE_RELAXED));
  }

  /** Ends a capture; the graph is the caller's. */
  public long endCapture(long stream) {
    return created(
        "cuStreamEndCapture", graph -> (int) streamEndCapture.invokeExact(stream, graph));
  }

  public long createEvent() {
    return created("cuEventCreate", handle -> (int) eventCreate.invokeExact(handle, 0));
  }

  public void destroyEvent(long event) {
    checked("cuEventDestroy", () -> (int) eventDestroy.invokeExact(event));
  }

  public void record(long event, long stream) {
    checked("cuEventRecord", () -> (int) eventRecord.invokeExact(event, stream));
  }

  /** Whether all before the event is done, or has failed. */
  public boolean isComplete(long event) {
    return code(() -> (int) eventQuery.invokeExact(event)) != Status.NOT_READY;
  }

  public void synchronizeEvent(long event) {
    checked("cuEventSynchronize", () -> (int) eventSynchronize.invokeExact(event));
  }

  public double nanosBetween(long start, long end) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment millis = arena.allocate(JAVA_FLOAT);
      checked("cuEventElapsedTime", () -> (int) eventElapsedTime.invokeExact(millis, start, end));
      return millis.get(JAVA_FLOAT, 0) * 1e6;
    }
  }

  public long instantiate(long graph) {
    return created(
        "cuGraphInstantiate",
        executable -> (int) graphInstantiate.invokeExact(executable, graph, 0L));
  }

  /** How many nodes a graph has. */
  public int nodes(long graph) {
    return Math.toIntExact(
        created(
            "cuGraphGetNodes",
            count -> (int) graphGetNodes.invokeExact(graph, MemorySegment.NULL, count)));
  }

  public void launchGraph(long executable, long stream) {
    checked("cuGraphLaunch", () -> (int) graphLaunch.invokeExact(executable, stream));
  }

  public void destroyGraph(long graph) {
    checked("cuGraphDestroy", () -> (int) graphDestroy.invokeExact(graph));
  }

  public void destroyExecutable(long executable) {
    checked("cuGraphExecDestroy", () -> (int) graphExecDestroy.invokeExact(executable));
  }
}
