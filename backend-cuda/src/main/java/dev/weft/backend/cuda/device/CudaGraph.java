package dev.weft.backend.cuda.device;

import dev.weft.spi.BackendGraph;
import java.util.OptionalInt;

/** An instantiated graph. */
final class CudaGraph implements BackendGraph {
  private final CudaContext context;
  private final long executable;
  private final int nodes;

  CudaGraph(CudaContext context, long executable, int nodes) {
    this.context = context;
    this.executable = executable;
    this.nodes = nodes;
  }

  long executable() {
    return executable;
  }

  @Override
  public OptionalInt nodes() {
    return OptionalInt.of(nodes);
  }

  @Override
  public void close() {
    context.bind();
    context.calls().destroyExecutable(executable);
  }
}
