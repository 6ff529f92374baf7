package dev.weft.backend.cuda.kernels;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Off-heap memory for one launch's arguments: a single structure, passed by value. Written in the
 * order of the structure's fields, used again by every launch of a stream: the driver copies it.
 */
public final class ParameterBlock {
  private static final int CAPACITY = 4096;
  private static final int ALIGNMENT =
      128; // of CUtensorMap in CUDA 13, and of a structure with one

  /** CUlaunchConfig, then the CUlaunchAttribute that it points to. */
  private static final int CONFIGURATION_BYTES = 56;

  private static final int ATTRIBUTE_BYTES = 72;
  private static final int ATTRIBUTE_OVERLAP = 6; // programmatic stream serialization

  private final MemorySegment fields;
  private final MemorySegment pointers;
  private final MemorySegment configuration;
  private int size;
  private int alignment;

  public ParameterBlock(Arena arena) {
    fields = arena.allocate(CAPACITY, ALIGNMENT);
    pointers = arena.allocate(ValueLayout.ADDRESS);
    pointers.set(ValueLayout.ADDRESS, 0, fields);
    configuration = arena.allocate(CONFIGURATION_BYTES + ATTRIBUTE_BYTES, 8);
  }

  /** Starts anew. */
  public ParameterBlock reset() {
    size = 0;
    alignment = 8;
    return this;
  }

  /** An address or a 64-bit number. */
  public ParameterBlock put(long value) {
    size = (size + 7) & -8;
    fields.set(ValueLayout.JAVA_LONG, size, value);
    size += 8;
    return this;
  }

  /** A 32-bit number. */
  public ParameterBlock put(int value) {
    fields.set(ValueLayout.JAVA_INT, size, value);
    size += 4;
    return this;
  }

  /** A 32-bit floating-point number. */
  public ParameterBlock put(float value) {
    fields.set(ValueLayout.JAVA_FLOAT, size, value);
    size += 4;
    return this;
  }

  /** A tensor map: 128 bytes, at a multiple of as many. */
  public ParameterBlock put(MemorySegment tensorMap) {
    size = (size + ALIGNMENT - 1) & -ALIGNMENT;
    MemorySegment.copy(tensorMap, 0, fields, size, tensorMap.byteSize());
    size += Math.toIntExact(tensorMap.byteSize());
    alignment = ALIGNMENT;
    return this;
  }

  /** The structure's size so far, padded as the compiler pads it. */
  int size() {
    return (size + alignment - 1) & -alignment;
  }

  /** What cuLaunchKernel takes: an array of one address. */
  MemorySegment pointers() {
    return pointers;
  }

  /** What cuLaunchKernelEx takes: a CUlaunchConfig, with the attribute to overlap. */
  MemorySegment overlapping(LaunchShape shape, int gridX, long stream) {
    MemorySegment c = configuration;
    c.fill((byte) 0);
    c.set(ValueLayout.JAVA_INT, 0, gridX);
    c.set(ValueLayout.JAVA_INT, 4, shape.gridY());
    c.set(ValueLayout.JAVA_INT, 8, 1);
    c.set(ValueLayout.JAVA_INT, 12, shape.threads());
    c.set(ValueLayout.JAVA_INT, 16, 1);
    c.set(ValueLayout.JAVA_INT, 20, 1);
    c.set(ValueLayout.JAVA_INT, 24, shape.sharedBytes());
    c.set(ValueLayout.JAVA_LONG, 32, stream);
    c.set(ValueLayout.JAVA_LONG, 40, c.address() + CONFIGURATION_BYTES);
    c.set(ValueLayout.JAVA_INT, 48, 1);
    c.set(ValueLayout.JAVA_INT, CONFIGURATION_BYTES, ATTRIBUTE_OVERLAP);
    c.set(ValueLayout.JAVA_INT, CONFIGURATION_BYTES + 8, 1);
    return c;
  }
}
