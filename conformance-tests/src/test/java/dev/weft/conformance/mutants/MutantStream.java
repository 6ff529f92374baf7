package dev.weft.conformance.mutants;

import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import java.lang.foreign.MemorySegment;

/**
 * A stream that does as another does. Kernels do not take it: for cases of transfers and graphs.
 */
class MutantStream implements BackendStream {
  final BackendStream inner;

  MutantStream(BackendStream inner) {
    this.inner = inner;
  }

  @Override
  public void upload(MemorySegment source, BackendMemory target, long targetOffset) {
    inner.upload(source, target, targetOffset);
  }

  @Override
  public void download(BackendMemory source, long sourceOffset, MemorySegment target) {
    inner.download(source, sourceOffset, target);
  }

  @Override
  public void copy(
      BackendMemory source,
      long sourceOffset,
      BackendMemory target,
      long targetOffset,
      long bytes) {
    inner.copy(source, sourceOffset, target, targetOffset, bytes);
  }

  @Override
  public void fill(BackendMemory target, long targetOffset, long bytes, byte value) {
    inner.fill(target, targetOffset, bytes, value);
  }

  @Override
  public BackendEvent record() {
    return inner.record();
  }

  @Override
  public void await(BackendEvent event) {
    inner.await(event);
  }

  @Override
  public void synchronize() {
    inner.synchronize();
  }

  @Override
  public void beginCapture() {
    inner.beginCapture();
  }

  @Override
  public BackendGraph endCapture() {
    return inner.endCapture();
  }

  @Override
  public boolean isCapturedByCaller() {
    return inner.isCapturedByCaller();
  }

  @Override
  public void launch(BackendGraph graph) {
    inner.launch(graph);
  }

  @Override
  public void close() {
    inner.close();
  }
}
