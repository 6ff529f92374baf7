package com.example.weft;

import dev.weft.DataType;
import dev.weft.Tensor;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** A tensor's elements where they lie: any strides, any alignment, any storage type. */
final class Elements {
  private final DataType type;
  private final MemorySegment segment;
  private final long first;
  private final long[] shape;
  private final long[] strides;

  private Elements(Tensor tensor) {
    type = tensor.dataType();
    segment = ExampleMemory.segmentOf(tensor.memory());
    first = tensor.byteOffset() / type.bytes();
    shape = tensor.shape();
    strides = tensor.strides();
  }

  static Elements of(Tensor tensor) {
    return new Elements(tensor);
  }

  static @Nullable Elements ofOptional(@Nullable Tensor tensor) {
    return tensor == null ? null : new Elements(tensor);
  }

  int rank() {
    return shape.length;
  }

  int size(int dimension) {
    return Math.toIntExact(shape[dimension]);
  }

  int integer(int i) {
    return (int) get(i);
  }

  double get(long... index) {
    return type.get(segment, at(index));
  }

  /** Rounds once, to the storage type. */
  void set(double value, long... index) {
    type.set(segment, at(index), value);
  }

  private long at(long... index) {
    long at = first;
    for (int d = 0; d < index.length; d++) {
      at += index[d] * strides[d];
    }
    return at;
  }
}
