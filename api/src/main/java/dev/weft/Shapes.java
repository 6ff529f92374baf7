package dev.weft;

import java.util.Arrays;

/** Arithmetic on extents and strides, all of it checked and 64-bit. */
final class Shapes {
  private Shapes() {}

  static long elements(long[] shape) {
    long n = 1;
    for (long extent : shape) {
      if (extent < 0) {
        throw new IllegalArgumentException(
            "shape: expected extents of at least 0, but was " + Arrays.toString(shape));
      }
      n = Math.multiplyExact(n, extent);
    }
    return n;
  }

  static long[] rowMajorStrides(long[] shape) {
    long[] strides = new long[shape.length];
    long stride = 1;
    for (int i = shape.length - 1; i >= 0; i--) {
      strides[i] = stride;
      stride = Math.multiplyExact(stride, Math.max(shape[i], 1));
    }
    return strides;
  }

  /** Elements from the first to one past the last that a view touches; 0 for an empty view. */
  static long span(long[] shape, long[] strides) {
    long last = 0;
    for (int i = 0; i < shape.length; i++) {
      if (shape[i] == 0) {
        return 0;
      }
      last = Math.addExact(last, Math.multiplyExact(shape[i] - 1, strides[i]));
    }
    return last + 1;
  }

  static boolean isContiguous(long[] shape, long[] strides) {
    long expected = 1;
    for (int i = shape.length - 1; i >= 0; i--) {
      if (shape[i] == 0) {
        return true;
      }
      if (shape[i] != 1) {
        if (strides[i] != expected) {
          return false;
        }
        expected *= shape[i];
      }
    }
    return true;
  }

  /**
   * Tells whether two views of one memory may share a byte. Exact for views with a common outer
   * pitch (parts of one packed tensor); otherwise it may say yes where the truth is no.
   *
   * @param offsetA byte offset of the first view
   * @param offsetB byte offset of the second
   */
  static boolean mayOverlap(
      long offsetA,
      long[] shapeA,
      long[] stridesA,
      int bytesA,
      long offsetB,
      long[] shapeB,
      long[] stridesB,
      int bytesB) {
    if (Shapes.span(shapeA, stridesA) == 0 || Shapes.span(shapeB, stridesB) == 0) {
      return false;
    }
    return overlap(
        offsetA, dims(shapeA, stridesA, bytesA), offsetB, dims(shapeB, stridesB, bytesB), 0, 0);
  }

  private static boolean overlap(long a, long[][] da, long b, long[][] db, int i, int j) {
    long spanA = byteSpan(da, i);
    long spanB = byteSpan(db, j);
    if (a + spanA <= b || b + spanB <= a) {
      return false;
    }
    // Innermost entries are the elements themselves, {1 byte stride, size}.
    if (i >= da.length - 1 || j >= db.length - 1 || da[i][1] != db[j][1]) {
      return true;
    }
    long pitch = da[i][1];
    long innerA = byteSpan(da, i + 1);
    long innerB = byteSpan(db, j + 1);
    if (innerA > pitch || innerB > pitch) {
      return true;
    }
    long r = Math.floorMod(b - a, pitch);
    boolean sameRow = overlap(0, da, r, db, i + 1, j + 1);
    boolean nextRow = overlap(pitch, da, r, db, i + 1, j + 1);
    return sameRow || nextRow;
  }

  private static long byteSpan(long[][] dims, int from) {
    long span = 1;
    for (int i = from; i < dims.length; i++) {
      span += (dims[i][0] - 1) * dims[i][1];
    }
    return span;
  }

  /** {extent, byte stride} by falling stride, merged where contiguous, ending with the element. */
  private static long[][] dims(long[] shape, long[] strides, int bytes) {
    long[][] dims = new long[shape.length + 1][];
    int n = 0;
    for (int i = 0; i < shape.length; i++) {
      if (shape[i] > 1) {
        dims[n++] = new long[] {shape[i], strides[i] * bytes};
      }
    }
    dims[n++] = new long[] {bytes, 1};
    dims = Arrays.copyOf(dims, n);
    Arrays.sort(dims, (x, y) -> Long.compare(y[1], x[1]));
    int kept = 0;
    for (int i = 1; i < n; i++) {
      if (dims[kept][1] == dims[i][0] * dims[i][1]) {
        dims[kept] = new long[] {dims[kept][0] * dims[i][0], dims[i][1]};
      } else {
        dims[++kept] = dims[i];
      }
    }
    return Arrays.copyOf(dims, kept + 1);
  }
}
