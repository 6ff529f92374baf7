package dev.weft;

import dev.weft.spi.BackendMemory;
import java.util.Arrays;

/**
 * A typed, shaped and strided view of device memory.
 *
 * <p>A tensor from {@link Device#allocate} or {@link Device#upload} owns its memory; {@link
 * #slice}, {@link #select}, {@link #reshape} and {@link #transpose} give views that borrow it and
 * are unusable once the owner is closed. Closing never waits and never frees memory in use: memory
 * is released after the last launch that names it. Closing twice is harmless. Immutable but for
 * {@code close()}; safe for use by several threads.
 */
public final class Tensor implements AutoCloseable {
  /** The host address of memory that is not known to alias the host's. */
  static final long UNKNOWN = -1;

  private final Device device;
  private final DataType dataType;
  private final long[] shape;
  private final long[] strides;
  private final BackendMemory memory;
  private final long hostAddress;
  private final long byteOffset;
  private final Lifetime lifetime;
  private final boolean owner;
  private volatile boolean closed;

  Tensor(
      Device device,
      DataType dataType,
      long[] shape,
      long[] strides,
      BackendMemory memory,
      long hostAddress,
      long byteOffset,
      Lifetime lifetime,
      boolean owner) {
    this.device = device;
    this.dataType = dataType;
    this.shape = shape;
    this.strides = strides;
    this.memory = memory;
    this.hostAddress = hostAddress;
    this.byteOffset = byteOffset;
    this.lifetime = lifetime;
    this.owner = owner;
  }

  /**
   * Returns the device that holds the tensor.
   *
   * @return the device
   */
  public Device device() {
    return device;
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
   * Returns the number of dimensions.
   *
   * @return the rank
   */
  public int rank() {
    return shape.length;
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
   * Returns one extent.
   *
   * @param dimension from 0; negative counts from the last, which is -1
   * @return the extent
   */
  public long size(int dimension) {
    return shape[index(dimension)];
  }

  /**
   * Returns the distances between neighbours.
   *
   * @return a copy, in elements, outermost first
   */
  public long[] strides() {
    return strides.clone();
  }

  /**
   * Returns the distance between neighbours along one dimension.
   *
   * @param dimension from 0; negative counts from the last, which is -1
   * @return the stride in elements
   */
  public long stride(int dimension) {
    return strides[index(dimension)];
  }

  /**
   * Returns the number of elements.
   *
   * @return the product of the extents
   */
  public long elements() {
    return Shapes.elements(shape);
  }

  /**
   * Returns where the first element lies in {@link #memory()}.
   *
   * @return bytes; a multiple of the element's size and of nothing more
   */
  public long byteOffset() {
    return byteOffset;
  }

  /**
   * Returns the memory, for backends and interop. Stays callable after {@code close()}, as a launch
   * that was enqueued before still needs it.
   *
   * @return the backend's memory object
   */
  public BackendMemory memory() {
    return memory;
  }

  /**
   * Tells whether elements lie densely in row-major order.
   *
   * @return true if so
   */
  public boolean isContiguous() {
    return Shapes.isContiguous(shape, strides);
  }

  /**
   * Restricts one dimension to a range.
   *
   * @param dimension from 0; negative counts from the last
   * @param from first index, inclusive
   * @param to last index, exclusive
   * @return a view
   */
  public Tensor slice(int dimension, long from, long to) {
    int d = index(dimension);
    if (from < 0 || to < from || to > shape[d]) {
      throw new IllegalArgumentException(
          "slice: expected a range within 0.."
              + shape[d]
              + " of dimension "
              + d
              + " of "
              + this
              + ", but was "
              + from
              + ".."
              + to);
    }
    long[] newShape = shape.clone();
    newShape[d] = to - from;
    return view(newShape, strides, from * strides[d]);
  }

  /**
   * Picks one index of a dimension, which disappears.
   *
   * @param dimension from 0; negative counts from the last
   * @param at the index
   * @return a view with one dimension less
   */
  public Tensor select(int dimension, long at) {
    int d = index(dimension);
    if (at < 0 || at >= shape[d]) {
      throw new IllegalArgumentException(
          "select: expected an index in 0.."
              + (shape[d] - 1)
              + " of dimension "
              + d
              + " of "
              + this
              + ", but was "
              + at);
    }
    return view(without(shape, d), without(strides, d), at * strides[d]);
  }

  /**
   * Swaps two dimensions.
   *
   * @param a a dimension; negative counts from the last
   * @param b another
   * @return a view
   */
  public Tensor transpose(int a, int b) {
    int i = index(a);
    int j = index(b);
    long[] newShape = shape.clone();
    long[] newStrides = strides.clone();
    newShape[i] = shape[j];
    newShape[j] = shape[i];
    newStrides[i] = strides[j];
    newStrides[j] = strides[i];
    return view(newShape, newStrides, 0);
  }

  /**
   * Gives the same elements another shape, without a copy.
   *
   * @param newShape extents with the same product
   * @return a view
   * @throws IllegalArgumentException if the product differs or the strides would need a copy
   */
  public Tensor reshape(long... newShape) {
    if (Shapes.elements(newShape) != elements()) {
      throw new IllegalArgumentException(
          "reshape: expected as many elements as " + this + ", but was " + text(newShape));
    }
    long[] newStrides = Shapes.reshape(shape, strides, newShape);
    if (newStrides == null) {
      throw new IllegalArgumentException(
          "reshape: "
              + this
              + " with strides "
              + Arrays.toString(strides)
              + " cannot be seen as "
              + text(newShape)
              + " without a copy; copy it to a contiguous tensor first");
    }
    return view(newShape.clone(), newStrides, 0);
  }

  /**
   * Copies to the host through the default stream, and waits.
   *
   * @param target a host tensor of the same type and shape
   */
  public void download(HostTensor target) {
    Stream stream = device.defaultStream();
    stream.download(this, target);
    stream.synchronize();
  }

  /**
   * Copies to a new host tensor through the default stream, and waits.
   *
   * @return a host tensor of the same type and shape
   */
  public HostTensor download() {
    HostTensor target = HostTensor.allocate(dataType, shape);
    download(target);
    return target;
  }

  /** Gives the tensor up; its memory is released once no launch uses it. */
  @Override
  public void close() {
    closed = true;
    if (owner) {
      lifetime.close();
    }
  }

  /**
   * Returns type and shape.
   *
   * @return a text such as {@code bf16[17, 32, 128]}
   */
  @Override
  public String toString() {
    return text(shape);
  }

  Lifetime lifetime() {
    return lifetime;
  }

  void checkOpen(String name) {
    if (closed || lifetime.isClosed()) {
      throw new IllegalStateException(
          "tensor " + name + " (" + this + ") is closed; use it, and its views, before close()");
    }
  }

  @SuppressWarnings("ReferenceEquality") // one allocation is one object
  private boolean sharesMemory(Tensor other) {
    return memory == other.memory;
  }

  /** Tells whether the two may share a byte; sees through several wraps of one host segment. */
  boolean mayOverlap(Tensor other) {
    long apart = 0;
    if (!sharesMemory(other)) {
      if (hostAddress == UNKNOWN || other.hostAddress == UNKNOWN) {
        return false;
      }
      apart = other.hostAddress - hostAddress;
    }
    return Shapes.mayOverlap(
        byteOffset,
        shape,
        strides,
        dataType.bytes(),
        apart + other.byteOffset,
        other.shape,
        other.strides,
        other.dataType.bytes());
  }

  boolean isSameView(Tensor other) {
    return sharesMemory(other)
        && byteOffset == other.byteOffset
        && dataType == other.dataType
        && Arrays.equals(shape, other.shape)
        && Arrays.equals(strides, other.strides);
  }

  private Tensor view(long[] newShape, long[] newStrides, long elementOffset) {
    checkOpen("of the view");
    return new Tensor(
        device,
        dataType,
        newShape,
        newStrides.clone(),
        memory,
        hostAddress,
        byteOffset + elementOffset * dataType.bytes(),
        lifetime,
        false);
  }

  private String text(long[] extents) {
    return dataType.text() + Arrays.toString(extents);
  }

  private int index(int dimension) {
    int d = dimension < 0 ? dimension + shape.length : dimension;
    if (d < 0 || d >= shape.length) {
      throw new IllegalArgumentException(
          "dimension: expected one of " + shape.length + " of " + this + ", but was " + dimension);
    }
    return d;
  }

  private static long[] without(long[] values, int index) {
    long[] rest = new long[values.length - 1];
    System.arraycopy(values, 0, rest, 0, index);
    System.arraycopy(values, index + 1, rest, index, rest.length - index);
    return rest;
  }
}
