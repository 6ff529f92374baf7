package dev.weft.conformance.mutants;

import dev.weft.Tensor;
import dev.weft.spi.BackendStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The whole memory behind a tensor, on the host: read, damaged, written back. */
final class Image {
  private final BackendStream stream;
  private final Tensor tensor;
  private final MemorySegment bytes;

  Image(BackendStream stream, Tensor tensor) {
    this.stream = stream;
    this.tensor = tensor;
    this.bytes = Arena.ofAuto().allocate(tensor.memory().bytes(), 64);
    stream.download(tensor.memory(), 0, bytes);
    stream.synchronize();
  }

  long size(int dimension) {
    return tensor.size(dimension);
  }

  int rank() {
    return tensor.rank();
  }

  long elements() {
    return tensor.elements();
  }

  /** Element index in the memory of a row-major index of the tensor. */
  private long at(long index) {
    long rest = index;
    long offset = tensor.byteOffset() / tensor.dataType().bytes();
    for (int d = tensor.rank() - 1; d >= 0; d--) {
      offset += rest % tensor.size(d) * tensor.stride(d);
      rest /= tensor.size(d);
    }
    return offset;
  }

  double get(long index) {
    return tensor.dataType().get(bytes, at(index));
  }

  void set(long index, double value) {
    tensor.dataType().set(bytes, at(index), value);
  }

  /** Writes beyond the last element. */
  void setBehind(double value) {
    tensor.dataType().set(bytes, at(elements() - 1) + 1, value);
  }

  void copyBits(long from, long to, Image source) {
    int size = tensor.dataType().bytes();
    MemorySegment.copy(source.bytes, source.at(from) * size, bytes, at(to) * size, size);
  }

  void store() {
    stream.upload(bytes, tensor.memory(), 0);
    stream.synchronize();
  }
}
