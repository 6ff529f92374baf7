package dev.weft.backend.cuda.device;

import dev.weft.backend.cuda.driver.StreamCalls;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** A CUstream. */
public final class CudaStream implements BackendStream {
  private final CudaContext context;
  private final StreamCalls calls;
  private final long handle;
  private final boolean wrapped;
  // Shared: threads take turns on a stream, and any of them closes it.
  private final Arena arena = Arena.ofShared();
  private final ParameterBlock parameters = new ParameterBlock(arena);

  private CudaStream(CudaContext context, long handle, boolean wrapped) {
    this.context = context;
    this.calls = context.calls();
    this.handle = handle;
    this.wrapped = wrapped;
  }

  static CudaStream create(CudaContext context) {
    context.bind();
    return new CudaStream(context, context.calls().createStream(), false);
  }

  static CudaStream wrap(CudaContext context, long handle) {
    return new CudaStream(context, handle, true);
  }

  /** A CUstream. */
  long handle() {
    return handle;
  }

  /** The block for the next launch's arguments, empty. */
  public ParameterBlock parameters() {
    return parameters.reset();
  }

  /**
   * Enqueues a kernel with the arguments that were put into {@link #parameters()}.
   *
   * @param kernel a kernel of this device
   * @param gridX blocks
   * @param gridY blocks, at most 65,535
   * @param threads of a block
   */
  public void launch(KernelFunction kernel, long gridX, int gridY, int threads) {
    launch(kernel, LaunchShape.of(gridX, gridY, threads));
  }

  /**
   * Enqueues a kernel with the arguments that were put into {@link #parameters()}.
   *
   * @param kernel a kernel of this device
   * @param shape blocks, threads and what else a launch has
   */
  public void launch(KernelFunction kernel, LaunchShape shape) {
    context.bind();
    kernel.launch(calls, handle, shape, parameters);
  }

  /** Enqueues the filling of device memory with a byte. */
  public void fill(long address, byte value, long bytes) {
    context.bind();
    calls.fill(address, value, bytes, handle);
  }

  @Override
  public void upload(MemorySegment source, BackendMemory target, long targetOffset) {
    context.bind();
    calls.copyToDevice(address(target) + targetOffset, source, handle);
  }

  @Override
  public void download(BackendMemory source, long sourceOffset, MemorySegment target) {
    context.bind();
    calls.copyToHost(target, address(source) + sourceOffset, handle);
  }

  @Override
  public void copy(
      BackendMemory source,
      long sourceOffset,
      BackendMemory target,
      long targetOffset,
      long bytes) {
    context.bind();
    calls.copyOnDevice(
        address(target) + targetOffset, address(source) + sourceOffset, bytes, handle);
  }

  @Override
  public void fill(BackendMemory target, long targetOffset, long bytes, byte value) {
    context.bind();
    calls.fill(address(target) + targetOffset, value, bytes, handle);
  }

  private static long address(BackendMemory memory) {
    return ((CudaMemory) memory).address();
  }

  @Override
  public BackendEvent record() {
    context.bind();
    CudaEvent event = new CudaEvent(context);
    try {
      calls.record(event.handle(), handle);
      return event;
    } catch (Throwable t) {
      event.close();
      throw t;
    }
  }

  @Override
  public void await(BackendEvent event) {
    context.bind();
    calls.await(handle, ((CudaEvent) event).handle());
  }

  @Override
  public void synchronize() {
    context.bind();
    calls.synchronizeStream(handle);
  }

  @Override
  public void beginCapture() {
    context.bind();
    calls.beginCapture(handle);
  }

  @Override
  public BackendGraph endCapture() {
    context.bind();
    long graph = calls.endCapture(handle);
    try {
      return new CudaGraph(context, calls.instantiate(graph), calls.nodes(graph));
    } finally {
      calls.destroyGraph(graph);
    }
  }

  @Override
  public boolean isCapturedByCaller() {
    if (!wrapped) {
      return false; // nobody else knows the handle
    }
    context.bind();
    return calls.isCapturing(handle);
  }

  @Override
  public void launch(BackendGraph graph) {
    context.bind();
    calls.launchGraph(((CudaGraph) graph).executable(), handle);
  }

  @Override
  public void close() {
    try {
      if (!wrapped) {
        context.bind();
        calls.destroyStream(handle);
      }
    } finally {
      arena.close();
    }
  }
}
