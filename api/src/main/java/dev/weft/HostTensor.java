package dev.weft;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * A dense row-major tensor in host memory: what {@link Device#upload} reads and {@link
 * Tensor#download} fills. Not thread-safe where elements are written.
 */
public final class HostTensor {
  private final DataType dataType;
  private final long[] shape;
  private final MemorySegment segment;
  private final long elements;

  private HostTensor(DataType dataType, long[] shape, MemorySegment segment) {
    this.dataType = dataType;
    this.shape = shape.clone();
    this.elements = Shapes.elements(shape);
    long bytes = Shapes.bytes(dataType, shape);
    if (segment.byteSize() != bytes) {
      throw new IllegalArgumentException(
          "host tensor "
              + dataType.text()
              + Arrays.toString(shape)
              + ": expected a segment of "
              + bytes
              + " bytes, but it has "
              + segment.byteSize());
    }
    this.segment = segment;
  }

  /**
   * Describes existing memory, heap or native, without a copy.
   *
   * @param dataType the element type
   * @param segment exactly the tensor's bytes, little-endian; any alignment
   * @param shape the extents, outermost first
   * @return a tensor over the segment
   */
  public static HostTensor of(DataType dataType, MemorySegment segment, long... shape) {
    return new HostTensor(dataType, shape, segment);
  }

  /**
   * Allocates a zeroed tensor on the Java heap (or, above 1 GiB, in native memory that the garbage
   * collector frees).
   *
   * @param dataType the element type
   * @param shape the extents, outermost first
   * @return a tensor of zeros
   */
  public static HostTensor allocate(DataType dataType, long... shape) {
    long bytes = Shapes.bytes(dataType, shape);
    MemorySegment segment =
        bytes <= 1L << 30
            ? MemorySegment.ofArray(new long[Math.toIntExact((bytes + 7) >>> 3)]).asSlice(0, bytes)
            : Arena.ofAuto().allocate(bytes, 64);
    return new HostTensor(dataType, shape, segment);
  }

  /**
   * Allocates a zeroed tensor in native memory.
   *
   * @param arena owns the memory
   * @param dataType the element type
   * @param shape the extents, outermost first
   * @return a tensor of zeros
   */
  public static HostTensor allocate(Arena arena, DataType dataType, long... shape) {
    long bytes = Shapes.bytes(dataType, shape);
    return new HostTensor(dataType, shape, arena.allocate(bytes, 64));
  }

  /**
   * Copies floats into a new tensor, rounding to its type.
   *
   * @param dataType the element type
   * @param values row-major values
   * @param shape the extents, outermost first
   * @return a new tensor
   */
  public static HostTensor ofFloats(DataType dataType, float[] values, long... shape) {
    HostTensor tensor = allocate(dataType, shape);
    checkLength(tensor, values.length);
    for (int i = 0; i < values.length; i++) {
      tensor.set(i, values[i]);
    }
    return tensor;
  }

  /**
   * Copies integers into a new I32 tensor.
   *
   * @param values row-major values
   * @param shape the extents, outermost first
   * @return a new tensor
   */
  public static HostTensor ofInts(int[] values, long... shape) {
    HostTensor tensor = allocate(DataType.I32, shape);
    checkLength(tensor, values.length);
    for (int i = 0; i < values.length; i++) {
      tensor.set(i, values[i]);
    }
    return tensor;
  }

  private static void checkLength(HostTensor tensor, int length) {
    if (tensor.elements != length) {
      throw new IllegalArgumentException(
          "host tensor "
              + Arrays.toString(tensor.shape)
              + ": expected "
              + tensor.elements
              + " values, but "
              + length
              + " were given");
    }
  }

  /**
   * Returns the element type.
   *
   * @return the type
   */
  public DataType dataType() {
    return dataType;
  }

  /**
   * Returns the extents.
   *
   * @return a copy, outermost first
   */
  public long[] shape() {
    return shape.clone();
  }

  /**
   * Returns the number of elements.
   *
   * @return the product of the extents
   */
  public long elements() {
    return elements;
  }

  /**
   * Returns the storage.
   *
   * @return exactly this tensor's bytes
   */
  public MemorySegment segment() {
    return segment;
  }

  /**
   * Reads an element.
   *
   * @param index row-major index
   * @return the element, widened exactly
   */
  public double get(long index) {
    return dataType.get(segment, index);
  }

  /**
   * Writes an element, rounded once to the tensor's type.
   *
   * @param index row-major index
   * @param value the value
   */
  public void set(long index, double value) {
    dataType.set(segment, index, value);
  }

  /**
   * Converts to another type, rounding to nearest even.
   *
   * @param type the new element type
   * @return a new tensor, or this one if it has that type
   */
  public HostTensor to(DataType type) {
    if (type == dataType) {
      return this;
    }
    HostTensor converted = allocate(type, shape);
    for (long i = 0; i < elements; i++) {
      converted.set(i, get(i));
    }
    return converted;
  }

  /**
   * Copies out as floats.
   *
   * @return row-major values, exact for F32, F16, BF16 and U8
   */
  public float[] toFloats() {
    float[] values = new float[Math.toIntExact(elements)];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) get(i);
    }
    return values;
  }

  /**
   * Copies out as doubles.
   *
   * @return row-major values, exact
   */
  public double[] toDoubles() {
    double[] values = new double[Math.toIntExact(elements)];
    for (int i = 0; i < values.length; i++) {
      values[i] = get(i);
    }
    return values;
  }

  /**
   * Copies out as integers.
   *
   * @return row-major values, truncated where the type is a floating one
   */
  public int[] toInts() {
    int[] values = new int[Math.toIntExact(elements)];
    for (int i = 0; i < values.length; i++) {
      values[i] = (int) get(i);
    }
    return values;
  }

  @Override
  public String toString() {
    return dataType.text() + Arrays.toString(shape);
  }
}
