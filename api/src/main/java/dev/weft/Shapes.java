package dev.weft;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** Arithmetic on extents and strides, all of it checked and 64-bit. */
final class Shapes {
  private Shapes() {}

  /**
   * Multiplies the extents. Those of an empty shape must not overflow either, were its zeros ones:
   * so the strides of any shape that passes fit.
   */
  static long elements(long[] shape) {
    long n = 1;
    boolean empty = false;
    for (long extent : shape) {
      if (extent < 0) {
        throw new IllegalArgumentException(
            "shape: expected extents of at least 0, but was " + Arrays.toString(shape));
      }
      empty |= extent == 0;
      n = multiply(n, Math.max(extent, 1), shape);
    }
    return empty ? 0 : n;
  }

  static long bytes(DataType dataType, long[] shape) {
    return multiply(elements(shape), dataType.bytes(), shape);
  }

  private static long multiply(long a, long b, long[] shape) {
    if (Math.multiplyHigh(a, b) != 0 || a * b < 0) {
      throw new IllegalArgumentException(
          "shape: expected fewer than 2^63 bytes, but was " + Arrays.toString(shape));
    }
    return a * b;
  }

  static long[] rowMajorStrides(long[] shape) {
    long[] strides = new long[shape.length];
    long stride = 1;
    for (int i = shape.length - 1; i >= 0; i--) {
      strides[i] = stride;
      stride *= Math.max(shape[i], 1);
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
    if (span(shape, strides) == 0) {
      return true;
    }
    long expected = 1;
    for (int i = shape.length - 1; i >= 0; i--) {
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
   * The strides with which a view can be seen in another shape of as many elements, or null if that
   * needs a copy.
   */
  static long @Nullable [] reshape(long[] shape, long[] strides, long[] newShape) {
    if (isContiguous(shape, strides)) {
      return rowMajorStrides(newShape);
    }
    // Extents of 1 say nothing about the layout.
    int[] dims = IntStream.range(0, shape.length).filter(i -> shape[i] != 1).toArray();
    long[] newStrides = new long[newShape.length];
    int oldDim = 0;
    int newDim = 0;
    // Runs of old and of new dimensions with equal products correspond; the old ones of a run must
    // be dense among themselves.
    while (oldDim < dims.length) {
      int newStart = newDim;
      long oldProduct = shape[dims[oldDim]];
      long newProduct = newShape[newDim++];
      while (oldProduct != newProduct) {
        if (oldProduct < newProduct) {
          long inner = shape[dims[oldDim + 1]] * strides[dims[oldDim + 1]];
          if (strides[dims[oldDim]] != inner) {
            return null;
          }
          oldProduct *= shape[dims[++oldDim]];
        } else {
          newProduct *= newShape[newDim++];
        }
      }
      long stride = strides[dims[oldDim++]];
      for (int i = newDim - 1; i >= newStart; i--) {
        newStrides[i] = stride;
        stride *= newShape[i];
      }
    }
    Arrays.fill(newStrides, newDim, newShape.length, 1); // only extents of 1 are left
    return newStrides;
  }

  /**
   * Tells whether two views of one memory may share a byte. Exact for views whose dimensions have
   * common pitches (parts of one packed tensor); otherwise it may say yes where the truth is no.
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
    if (span(shapeA, stridesA) == 0 || span(shapeB, stridesB) == 0) {
      return false;
    }
    return overlap(
        offsetB - offsetA, dims(shapeA, stridesA, bytesA), dims(shapeB, stridesB, bytesB));
  }

  /**
   * Whether A, at 0, and B, at an offset, may share a byte; both in dimensions of falling pitch.
   */
  private static boolean overlap(long offset, List<Dim> a, List<Dim> b) {
    if (offset >= span(a) || -offset >= span(b)) {
      return false;
    }
    long pitch = Math.max(a.getFirst().pitch, b.getFirst().pitch);
    if (pitch == 1) {
      return true; // two dense ranges
    }
    List<Dim> rowsA = atPitch(a, pitch);
    List<Dim> rowsB = atPitch(b, pitch);
    List<Dim> innerA = rowsA.subList(1, rowsA.size());
    List<Dim> innerB = rowsB.subList(1, rowsB.size());
    if (span(innerA) > pitch || span(innerB) > pitch) {
      return true; // rows that reach into each other: not worth telling apart
    }
    // Row k of B starts `inside` bytes behind the start of row k + first of A.
    long first = Math.floorDiv(offset, pitch);
    long inside = Math.floorMod(offset, pitch);
    return (rowsMeet(rowsA, rowsB, first) && overlap(inside, innerA, innerB))
        || (rowsMeet(rowsA, rowsB, first + 1) && overlap(inside - pitch, innerA, innerB));
  }

  /** Whether there is a row k of B for which A has a row k + shift. */
  private static boolean rowsMeet(List<Dim> a, List<Dim> b, long shift) {
    return Math.max(0, shift) < Math.min(a.getFirst().extent, b.getFirst().extent + shift);
  }

  /** The same bytes, with an outermost dimension of the given pitch, which is at least as large. */
  private static List<Dim> atPitch(List<Dim> dims, long pitch) {
    Dim outer = dims.getFirst();
    if (outer.pitch == pitch) {
      return dims;
    }
    long perRow = pitch / outer.pitch;
    List<Dim> split = new ArrayList<>(dims);
    if (pitch % outer.pitch == 0 && outer.extent > perRow && outer.extent % perRow == 0) {
      split.set(0, new Dim(perRow, outer.pitch));
      split.addFirst(new Dim(outer.extent / perRow, pitch));
    } else {
      split.addFirst(new Dim(1, pitch));
    }
    return split;
  }

  private static long span(List<Dim> dims) {
    long span = 1;
    for (Dim dim : dims) {
      span += (dim.extent - 1) * dim.pitch;
    }
    return span;
  }

  /** So many things, so many bytes apart. */
  private record Dim(long extent, long pitch) {}

  /** By falling pitch, merged where dense; the last has pitch 1 and is the bytes themselves. */
  private static List<Dim> dims(long[] shape, long[] strides, int bytes) {
    List<Dim> sorted = new ArrayList<>();
    for (int i = 0; i < shape.length; i++) {
      if (shape[i] > 1) {
        sorted.add(new Dim(shape[i], strides[i] * bytes));
      }
    }
    sorted.add(new Dim(bytes, 1));
    sorted.sort(Comparator.comparingLong(Dim::pitch).reversed());
    List<Dim> merged = new ArrayList<>();
    for (Dim dim : sorted) {
      if (!merged.isEmpty() && merged.getLast().pitch == dim.extent * dim.pitch) {
        Dim outer = merged.removeLast();
        merged.add(new Dim(outer.extent * dim.extent, dim.pitch));
      } else {
        merged.add(dim);
      }
    }
    return merged;
  }
}
