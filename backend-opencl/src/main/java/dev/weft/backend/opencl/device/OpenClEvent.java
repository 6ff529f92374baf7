package dev.weft.backend.opencl.device;

import dev.weft.spi.BackendEvent;

/** A marker in a queue. */
final class OpenClEvent implements BackendEvent {
  private final OpenClContext context;
  private final long handle;

  OpenClEvent(OpenClContext context, long handle) {
    this.context = context;
    this.handle = handle;
  }

  long handle() {
    return handle;
  }

  @Override
  public boolean isComplete() {
    return context.calls().isComplete(handle);
  }

  @Override
  public void synchronize() {
    context.calls().await(handle);
  }

  @Override
  public double nanosSince(BackendEvent start) {
    return context.calls().completedAt(handle)
        - context.calls().completedAt(((OpenClEvent) start).handle);
  }

  @Override
  public void close() {
    context.calls().releaseEvent(handle);
  }
}
