package dev.weft.backend.cuda.device;

import dev.weft.spi.BackendGraph;

/** An instantiated graph. */
final class CudaGraph implements BackendGraph {
  private final CudaContext context;
  private final long executable;

  CudaGraph(CudaContext context, long executable) {
    this.context = context;
    this.executable = executable;
  }

  long executable() {
    return executable;
  }

  @Override
  public void close() {
    context.bind();
    context.calls().destroyExecutable(executable);
  }
}
