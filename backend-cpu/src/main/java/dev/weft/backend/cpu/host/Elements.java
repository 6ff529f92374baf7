package dev.weft.backend.cpu.host;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_INT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import dev.weft.DataType;
import dev.weft.Tensor;
import java.lang.foreign.MemorySegment;

/**
 * A tensor's elements on the host, whatever its strides and alignment. To be made and used inside
 * the work that a stream runs. Reads widen exactly; writes round once, to nearest even. Indices are
 * checked against the memory, not against each extent.
 */
public final class Elements {
  private final DataType dataType;
  private final MemorySegment segment;
  private final long origin;
  private final long[] shape;
  private final long[] strides;

  private Elements(Tensor tensor) {
    dataType = tensor.dataType();
    segment = ((HostMemory) tensor.memory()).segment();
    origin = tensor.byteOffset() / dataType.bytes();
    shape = tensor.shape();
    strides = tensor.strides();
  }

  /**
   * Gives access to a tensor.
   *
   * @param tensor a tensor of a host device
   * @return its elements
   */
  public static Elements of(Tensor tensor) {
    return new Elements(tensor);
  }

  /**
   * Returns the storage type.
   *
   * @return the type
   */
  public DataType dataType() {
    return dataType;
  }

  /**
   * Returns the number of dimensions.
   *
   * @return the rank
   */
  public int rank() {
    return shape.length;
  }

  /**
   * Returns an extent.
   *
   * @param dim a dimension, from 0
   * @return its extent
   */
  public long size(int dim) {
    return shape[dim];
  }

  /**
   * Returns the distance between neighbours.
   *
   * @param dim a dimension, from 0
   * @return elements
   */
  public long stride(int dim) {
    return strides[dim];
  }

  /**
   * Returns the memory that holds the tensor, and maybe others.
   *
   * @return the whole memory
   */
  public MemorySegment segment() {
    return segment;
  }

  /**
   * Returns where the first element lies.
   *
   * @return bytes from the start of {@link #segment()}
   */
  public long byteOffset() {
    return origin * dataType.bytes();
  }

  // One method for each number of indices: an array of them would be an object for each call.

  /** Returns where an element of a vector, or a part's first element, lies in bytes. */
  public long byteOffset(long i) {
    return at(i) * dataType.bytes();
  }

  /** Returns where an element of a matrix, or a part's first element, lies in bytes. */
  public long byteOffset(long i, long j) {
    return at(i, j) * dataType.bytes();
  }

  /** Returns where an element of a tensor of rank 3, or a part's first one, lies in bytes. */
  public long byteOffset(long i, long j, long k) {
    return at(i, j, k) * dataType.bytes();
  }

  /** Reads an element of a vector. */
  public double get(long i) {
    return dataType.get(segment, at(i));
  }

  /** Reads an element of a matrix. */
  public double get(long i, long j) {
    return dataType.get(segment, at(i, j));
  }

  /** Reads an element of a tensor of rank 3. */
  public double get(long i, long j, long k) {
    return dataType.get(segment, at(i, j, k));
  }

  /** Reads an element of a tensor of rank 4. */
  public double get(long i, long j, long k, long l) {
    return dataType.get(segment, at(i, j, k, l));
  }

  /** Reads an element of a vector of numbers that fit a float. */
  public float getFloat(long i) {
    return (float) get(i);
  }

  /** Reads an element of a matrix of numbers that fit a float. */
  public float getFloat(long i, long j) {
    return (float) get(i, j);
  }

  /** Reads an element of a tensor of rank 3 of numbers that fit a float. */
  public float getFloat(long i, long j, long k) {
    return (float) get(i, j, k);
  }

  /** Reads an element of a tensor of rank 4 of numbers that fit a float. */
  public float getFloat(long i, long j, long k, long l) {
    return (float) get(i, j, k, l);
  }

  /** Reads an element of a vector of integers. */
  public int getInt(long i) {
    return (int) get(i);
  }

  /** Reads an element of a matrix of integers. */
  public int getInt(long i, long j) {
    return (int) get(i, j);
  }

  /** Reads an element of a tensor of rank 3 of integers. */
  public int getInt(long i, long j, long k) {
    return (int) get(i, j, k);
  }

  /** Reads an element of a tensor of rank 4 of integers. */
  public int getInt(long i, long j, long k, long l) {
    return (int) get(i, j, k, l);
  }

  /** Writes an element of a vector. */
  public void set(long i, double value) {
    dataType.set(segment, at(i), value);
  }

  /** Writes an element of a matrix. */
  public void set(long i, long j, double value) {
    dataType.set(segment, at(i, j), value);
  }

  /** Writes an element of a tensor of rank 3. */
  public void set(long i, long j, long k, double value) {
    dataType.set(segment, at(i, j, k), value);
  }

  /** Writes an element of a tensor of rank 4. */
  public void set(long i, long j, long k, long l, double value) {
    dataType.set(segment, at(i, j, k, l), value);
  }

  /** Returns where an element of a tensor of rank 4 lies in bytes. */
  public long byteOffset(long i, long j, long k, long l) {
    return at(i, j, k, l) * dataType.bytes();
  }

  /** Reads a vector, widened. */
  public void copyRow(float[] into, int at) {
    copyRowFrom(byteOffset(), into, at);
  }

  /** Reads a row of a matrix, widened. */
  public void copyRow(float[] into, int at, long i) {
    copyRowFrom(byteOffset(i), into, at);
  }

  /** Reads a row of a tensor of rank 3, widened. */
  public void copyRow(float[] into, int at, long i, long j) {
    copyRowFrom(byteOffset(i, j), into, at);
  }

  /** Reads a row of a tensor of rank 4, widened. */
  public void copyRow(float[] into, int at, long i, long j, long k) {
    copyRowFrom(byteOffset(i, j, k), into, at);
  }

  private void copyRowFrom(long bytes, float[] into, int at) {
    int last = shape.length - 1;
    copyFrom(bytes, strides[last], Math.toIntExact(shape[last]), into, at);
  }

  /** Writes a vector, each element rounded once. */
  public void setRow(float[] from, int at) {
    setRowAt(byteOffset(), from, at);
  }

  /** Writes a row of a matrix, each element rounded once. */
  public void setRow(float[] from, int at, long i) {
    setRowAt(byteOffset(i), from, at);
  }

  /** Writes a row of a tensor of rank 3, each element rounded once. */
  public void setRow(float[] from, int at, long i, long j) {
    setRowAt(byteOffset(i, j), from, at);
  }

  /** Writes a row of a tensor of rank 4, each element rounded once. */
  public void setRow(float[] from, int at, long i, long j, long k) {
    setRowAt(byteOffset(i, j, k), from, at);
  }

  private void setRowAt(long bytes, float[] from, int at) {
    int last = shape.length - 1;
    copyTo(bytes, strides[last], Math.toIntExact(shape[last]), from, at);
  }

  /** Reads some elements of a vector from element i on, widened. */
  public void copyAlong(int dim, int count, float[] into, int at, long i) {
    copyFrom(byteOffset(i), strides[dim], count, into, at);
  }

  /**
   * Reads some elements along one dimension of a matrix from element (i, j) on, widened.
   *
   * @param dim the dimension
   * @param count how many elements
   * @param into takes them
   * @param at where in it they start
   */
  public void copyAlong(int dim, int count, float[] into, int at, long i, long j) {
    copyFrom(byteOffset(i, j), strides[dim], count, into, at);
  }

  /** As the other, of a tensor of rank 3 from element (i, j, k) on. */
  public void copyAlong(int dim, int count, float[] into, int at, long i, long j, long k) {
    copyFrom(byteOffset(i, j, k), strides[dim], count, into, at);
  }

  /**
   * Writes some elements along one dimension of a tensor of rank 3 from element (i, j, k) on, each
   * rounded once.
   *
   * @param dim the dimension
   * @param count how many elements
   * @param from holds them
   * @param at where in it they start
   */
  public void setAlong(int dim, int count, float[] from, int at, long i, long j, long k) {
    copyTo(byteOffset(i, j, k), strides[dim], count, from, at);
  }

  private void copyFrom(long bytes, long stride, int n, float[] into, int at) {
    switch (dataType) {
      case F32 -> {
        if (stride == 1) {
          MemorySegment.copy(segment, JAVA_FLOAT_UNALIGNED, n == 0 ? 0 : bytes, into, at, n);
        } else {
          for (int i = 0; i < n; i++) {
            into[at + i] = segment.get(JAVA_FLOAT_UNALIGNED, bytes + 4 * stride * i);
          }
        }
      }
      case F16 -> {
        for (int i = 0; i < n; i++) {
          into[at + i] =
              Float.float16ToFloat(segment.get(JAVA_SHORT_UNALIGNED, bytes + 2 * stride * i));
        }
      }
      case BF16 -> {
        for (int i = 0; i < n; i++) {
          into[at + i] =
              Float.intBitsToFloat(segment.get(JAVA_SHORT_UNALIGNED, bytes + 2 * stride * i) << 16);
        }
      }
      case I32 -> {
        for (int i = 0; i < n; i++) {
          into[at + i] = (float) segment.get(JAVA_INT_UNALIGNED, bytes + 4 * stride * i);
        }
      }
      case U8 -> {
        for (int i = 0; i < n; i++) {
          into[at + i] = (float) dataType.get(segment, bytes + stride * i);
        }
      }
    }
  }

  private void copyTo(long bytes, long stride, int n, float[] from, int at) {
    switch (dataType) {
      case F32 -> {
        if (stride == 1) {
          MemorySegment.copy(from, at, segment, JAVA_FLOAT_UNALIGNED, n == 0 ? 0 : bytes, n);
        } else {
          for (int i = 0; i < n; i++) {
            segment.set(JAVA_FLOAT_UNALIGNED, bytes + 4 * stride * i, from[at + i]);
          }
        }
      }
      case F16 -> {
        for (int i = 0; i < n; i++) {
          segment.set(
              JAVA_SHORT_UNALIGNED, bytes + 2 * stride * i, Float.floatToFloat16(from[at + i]));
        }
      }
      case BF16 -> {
        for (int i = 0; i < n; i++) {
          segment.set(JAVA_SHORT_UNALIGNED, bytes + 2 * stride * i, bfloat16(from[at + i]));
        }
      }
      case I32, U8 -> {
        for (int i = 0; i < n; i++) {
          dataType.set(segment, bytes / dataType.bytes() + stride * i, from[at + i]);
        }
      }
    }
  }

  private static short bfloat16(float value) {
    int bits = Float.floatToRawIntBits(value);
    return Float.isNaN(value)
        ? (short) ((bits >>> 16) | 0x40) // quiet, lest a payload in the lower half become infinity
        : (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }

  private long at(long i) {
    return origin + i * strides[0];
  }

  private long at(long i, long j) {
    return origin + i * strides[0] + j * strides[1];
  }

  private long at(long i, long j, long k) {
    return origin + i * strides[0] + j * strides[1] + k * strides[2];
  }

  private long at(long i, long j, long k, long l) {
    return origin + i * strides[0] + j * strides[1] + k * strides[2] + l * strides[3];
  }
}
