package dev.weft;

/** Splits transfers of strided tensors into dense runs. */
final class StridedRuns {
  private StridedRuns() {}

  /** Takes one dense run; offsets and sizes in bytes. */
  interface Run {
    void at(long firstOffset, long secondOffset, long bytes);
  }

  /** Steps through a non-empty tensor's runs, and through a dense buffer beside it. */
  static void forEach(Tensor tensor, Run run) {
    int rank = outerRank(tensor);
    long[] shape = tensor.shape();
    long bytes = runBytes(tensor, rank);
    long[] index = new long[rank];
    long denseOffset = 0;
    do {
      run.at(byteOffset(tensor, index), denseOffset, bytes);
      denseOffset += bytes;
    } while (advance(index, shape));
  }

  /** Steps through two non-empty tensors of one shape, in runs that are dense in both. */
  static void forEachPair(Tensor first, Tensor second, Run run) {
    int rank = Math.max(outerRank(first), outerRank(second));
    long[] shape = first.shape();
    long bytes = runBytes(first, rank);
    long[] index = new long[rank];
    do {
      run.at(byteOffset(first, index), byteOffset(second, index), bytes);
    } while (advance(index, shape));
  }

  /** How many outer dimensions must be stepped through, the rest being dense. */
  private static int outerRank(Tensor tensor) {
    long[] shape = tensor.shape();
    long[] strides = tensor.strides();
    long dense = 1;
    int rank = shape.length;
    while (rank > 0 && (shape[rank - 1] == 1 || strides[rank - 1] == dense)) {
      dense *= shape[--rank];
    }
    return rank;
  }

  private static long runBytes(Tensor tensor, int rank) {
    long elements = 1;
    for (int i = rank; i < tensor.rank(); i++) {
      elements *= tensor.size(i);
    }
    return elements * tensor.dataType().bytes();
  }

  private static long byteOffset(Tensor tensor, long[] index) {
    long offset = 0;
    for (int i = 0; i < index.length; i++) {
      offset += index[i] * tensor.stride(i);
    }
    return tensor.byteOffset() + offset * tensor.dataType().bytes();
  }

  private static boolean advance(long[] index, long[] shape) {
    for (int i = index.length - 1; i >= 0; i--) {
      if (++index[i] < shape[i]) {
        return true;
      }
      index[i] = 0;
    }
    return false;
  }
}
