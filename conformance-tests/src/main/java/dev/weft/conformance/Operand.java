package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * A tensor of a case: the same elements on the device under test, placed as the case wants and
 * guarded, and dense on the reference device.
 */
public final class Operand {
  /** What launches may do with it. */
  enum Role {
    INPUT,
    OUTPUT,
    INOUT
  }

  private final String name;
  private final Slab slab;
  private final Tensor tested;
  private final Tensor reference;
  private Role role;
  private long @Nullable [] offsets;

  Operand(String name, Role role, Slab slab, Tensor tested, Tensor reference) {
    this.name = name;
    this.role = role;
    this.slab = slab;
    this.tested = tested;
    this.reference = reference;
    slab.operands.add(this);
  }

  /**
   * Returns the tensor's name, as failures give it.
   *
   * @return the name
   */
  public String name() {
    return name;
  }

  /**
   * Returns the element type.
   *
   * @return the type
   */
  public DataType dataType() {
    return tested.dataType();
  }

  /**
   * Returns the extents.
   *
   * @return outermost first
   */
  public long[] shape() {
    return tested.shape();
  }

  @Override
  public String toString() {
    return name + ' ' + tested;
  }

  Tensor on(boolean testedSide) {
    return testedSide ? tested : reference;
  }

  Slab slab() {
    return slab;
  }

  boolean isWritten() {
    return role != Role.INPUT;
  }

  void settle() {
    role = Role.INPUT;
  }

  /** Copies elements out of a slab's content. */
  HostTensor gather(HostTensor content) {
    HostTensor dense = HostTensor.allocate(dataType(), shape());
    long[] from = offsets();
    int size = dataType().bytes();
    for (int i = 0; i < from.length; i++) {
      Bits.set(
          dataType(),
          dense.segment(),
          (long) i * size,
          Bits.get(dataType(), content.segment(), from[i]));
    }
    return dense;
  }

  /** Copies elements into a slab's content. */
  void scatter(HostTensor dense, HostTensor content) {
    long[] to = offsets();
    int size = dataType().bytes();
    for (int i = 0; i < to.length; i++) {
      Bits.set(
          dataType(),
          content.segment(),
          to[i],
          Bits.get(dataType(), dense.segment(), (long) i * size));
    }
  }

  /** Byte offsets of the elements in the slab's content, in row-major order. */
  long[] offsets() {
    long[] known = offsets;
    if (known != null) {
      return known;
    }
    long[] shape = tested.shape();
    long[] strides = tested.strides();
    long[] result = new long[Math.toIntExact(tested.elements())];
    long[] index = new long[shape.length];
    int size = dataType().bytes();
    for (int i = 0; i < result.length; i++) {
      long at = 0;
      for (int d = 0; d < shape.length; d++) {
        at += index[d] * strides[d];
      }
      result[i] = slab.contentOffset(tested.byteOffset() + at * size);
      for (int d = shape.length - 1; d >= 0 && ++index[d] == shape[d]; d--) {
        index[d] = 0;
      }
    }
    offsets = result;
    return result;
  }

  /** The index of the i-th element in row-major order, as text. */
  String index(long i) {
    return Arrays.toString(Comparison.unravel(i, tested.shape()));
  }
}
