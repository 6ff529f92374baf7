package dev.weft.backend.cuda.device;

import dev.weft.spi.BackendEvent;

/** A timed event. */
final class CudaEvent implements BackendEvent {
  private final CudaContext context;
  private final long handle;

  CudaEvent(CudaContext context) {
    this.context = context;
    this.handle = context.calls().createEvent();
  }

  long handle() {
    return handle;
  }

  @Override
  public boolean isComplete() {
    context.bind();
    return context.calls().isComplete(handle);
  }

  @Override
  public void synchronize() {
    context.bind();
    context.calls().synchronizeEvent(handle);
  }

  @Override
  public double nanosSince(BackendEvent start) {
    context.bind();
    return context.calls().nanosBetween(((CudaEvent) start).handle, handle);
  }

  @Override
  public void close() {
    context.bind();
    context.calls().destroyEvent(handle);
  }
}
