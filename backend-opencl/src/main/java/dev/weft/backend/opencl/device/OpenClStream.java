package dev.weft.backend.opencl.device;

import dev.weft.backend.opencl.driver.Calls;
import dev.weft.backend.opencl.driver.Status;
import dev.weft.backend.opencl.programs.CompiledKernel;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * An in-order queue. Every command is flushed, those of a launch together at its end: the device
 * may begin with it, and other queues may wait for it, whatever the caller does next.
 */
final class OpenClStream implements ComputeStream {
  private final OpenClContext context;
  private final Calls calls;
  private final long queue;
  // Shared: threads take turns on a stream, and any of them closes it.
  private final Arena arena = Arena.ofShared();
  private final ArgumentBlock arguments = new ArgumentBlock(arena);
  private final MemorySegment sizes = arena.allocate(ValueLayout.JAVA_LONG, 6);
  private final Map<CompiledKernel, Long> kernels = new HashMap<>();
  private @Nullable List<OpenClGraph.Command> capture;
  private boolean isInLaunch;

  private OpenClStream(OpenClContext context, long queue) {
    this.context = context;
    this.calls = context.calls();
    this.queue = queue;
  }

  static OpenClStream create(OpenClContext context) {
    return new OpenClStream(
        context, context.calls().createQueue(context.raw(), context.rawDevice(), true));
  }

  /** Over a queue of the caller's, which is retained. */
  static OpenClStream wrap(OpenClContext context, long queue) {
    context.calls().retainQueue(queue);
    return new OpenClStream(context, queue);
  }

  /** A cl_command_queue. */
  long queue() {
    return queue;
  }

  // ---- launches

  @Override
  public void beginLaunch() {
    isInLaunch = true;
  }

  @Override
  public void endLaunch() {
    isInLaunch = false;
    if (capture == null) {
      calls.flush(queue);
    }
  }

  /** The queue is in order all the same. */
  @Override
  public void independent() {}

  private void flush() {
    if (!isInLaunch) {
      calls.flush(queue);
    }
  }

  // ---- dispatches

  @Override
  public Arguments arguments() {
    return arguments.reset();
  }

  @Override
  public void dispatch(
      ComputeKernel kernel, long groupsX, long groupsY, long groupsZ, int groupSize) {
    if (groupsX == 0 || groupsY == 0 || groupsZ == 0) {
      return;
    }
    CompiledKernel compiled = (CompiledKernel) kernel;
    if (groupSize > compiled.mostGroupSize()) {
      throw new IllegalArgumentException(
          compiled.name() + ": groups of " + groupSize + ", at most " + compiled.mostGroupSize());
    }
    if (capture != null) {
      long own = calls.createKernel(compiled.program(), compiled.name().function());
      try {
        arguments.setOn(own, calls);
      } catch (Throwable t) {
        calls.releaseKernel(own);
        throw t;
      }
      capture.add(new Dispatch(calls, compiled.name(), own, groupsX, groupsY, groupsZ, groupSize));
      return;
    }
    long own =
        kernels.computeIfAbsent(
            compiled, k -> calls.createKernel(k.program(), k.name().function()));
    arguments.setOn(own, calls);
    fill(sizes, groupsX, groupsY, groupsZ, groupSize);
    enqueue(calls, queue, compiled.name(), own, sizes);
    flush();
  }

  private static void fill(
      MemorySegment sizes, long groupsX, long groupsY, long groupsZ, int groupSize) {
    sizes.setAtIndex(ValueLayout.JAVA_LONG, 0, groupsX * groupSize);
    sizes.setAtIndex(ValueLayout.JAVA_LONG, 1, groupsY);
    sizes.setAtIndex(ValueLayout.JAVA_LONG, 2, groupsZ);
    sizes.setAtIndex(ValueLayout.JAVA_LONG, 3, groupSize);
    sizes.setAtIndex(ValueLayout.JAVA_LONG, 4, 1);
    sizes.setAtIndex(ValueLayout.JAVA_LONG, 5, 1);
  }

  private static void enqueue(
      Calls calls, long queue, KernelName name, long kernel, MemorySegment sizes) {
    int code = calls.dispatch(queue, kernel, sizes, sizes.asSlice(24));
    if (code != Status.SUCCESS) {
      throw Status.failure("clEnqueueNDRangeKernel(" + name + ")", code);
    }
  }

  /** A recorded dispatch, which any stream may enqueue. */
  private record Dispatch(
      Calls calls,
      KernelName name,
      long kernel,
      long groupsX,
      long groupsY,
      long groupsZ,
      int groupSize)
      implements OpenClGraph.Command {
    @Override
    public void enqueue(long queue) {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment sizes = arena.allocate(ValueLayout.JAVA_LONG, 6);
        fill(sizes, groupsX, groupsY, groupsZ, groupSize);
        OpenClStream.enqueue(calls, queue, name, kernel, sizes);
      }
    }
  }

  // ---- transfers

  private void submit(OpenClGraph.Command command) {
    if (capture != null) {
      capture.add(command);
    } else {
      command.enqueue(queue);
      flush();
    }
  }

  /** The same place, for whichever thread launches a graph; the driver reads it later anyway. */
  private static MemorySegment anyThreads(MemorySegment segment) {
    return MemorySegment.ofAddress(segment.address());
  }

  @Override
  public void upload(MemorySegment source, BackendMemory target, long targetOffset) {
    if (source.byteSize() != 0) {
      OpenClMemory to = (OpenClMemory) target;
      submit(q ->
          calls.write(
              q, to.buffer(), to.offset() + targetOffset, anyThreads(source), source.byteSize()));
    }
  }

  @Override
  public void download(BackendMemory source, long sourceOffset, MemorySegment target) {
    if (target.byteSize() != 0) {
      OpenClMemory from = (OpenClMemory) source;
      submit(q ->
          calls.read(
              q,
              from.buffer(),
              from.offset() + sourceOffset,
              anyThreads(target),
              target.byteSize()));
    }
  }

  @Override
  public void copy(
      BackendMemory source,
      long sourceOffset,
      BackendMemory target,
      long targetOffset,
      long bytes) {
    if (bytes != 0) {
      OpenClMemory from = (OpenClMemory) source;
      OpenClMemory to = (OpenClMemory) target;
      submit(q ->
          calls.copy(
              q,
              from.buffer(),
              from.offset() + sourceOffset,
              to.buffer(),
              to.offset() + targetOffset,
              bytes));
    }
  }

  @Override
  public void fill(BackendMemory target, long targetOffset, long bytes, byte value) {
    if (bytes != 0) {
      OpenClMemory to = (OpenClMemory) target;
      long offset = to.offset() + targetOffset;
      // The widest pattern that fits: drivers store it as one value.
      int width = (int) Math.min(16, Long.lowestOneBit(offset | bytes | 16));
      submit(q -> {
        try (Arena scratch = Arena.ofConfined()) {
          MemorySegment pattern = scratch.allocate(width, 16).fill(value);
          calls.fill(q, to.buffer(), pattern, offset, bytes);
        }
      });
    }
  }

  // ---- events, graphs

  @Override
  public BackendEvent record() {
    long event = calls.marker(queue);
    try {
      calls.flush(queue);
    } catch (Throwable t) {
      calls.releaseEvent(event);
      throw t;
    }
    return new OpenClEvent(context, event);
  }

  @Override
  public void await(BackendEvent event) {
    calls.barrier(queue, ((OpenClEvent) event).handle());
    calls.flush(queue);
  }

  @Override
  public void synchronize() {
    calls.finish(queue);
  }

  @Override
  public void beginCapture() {
    capture = new ArrayList<>();
  }

  @Override
  public BackendGraph endCapture() {
    List<OpenClGraph.Command> recorded = capture;
    if (recorded == null) {
      throw new IllegalStateException("endCapture: no capture has begun");
    }
    capture = null;
    return new OpenClGraph(calls, recorded);
  }

  @Override
  public void launch(BackendGraph graph) {
    for (OpenClGraph.Command command : ((OpenClGraph) graph).commands()) {
      command.enqueue(queue);
    }
    calls.flush(queue);
  }

  @Override
  public void close() {
    try {
      kernels.values().forEach(calls::releaseKernel);
      kernels.clear();
    } finally {
      calls.releaseQueue(queue);
      arena.close();
    }
  }
}
