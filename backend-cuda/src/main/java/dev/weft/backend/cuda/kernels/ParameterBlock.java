package dev.weft.backend.cuda.kernels;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Off-heap memory for one launch's arguments: a single structure, passed by value. Written in the
 * order of the structure's fields, used again by every launch of a stream: the driver copies it.
 */
public final class ParameterBlock {
  private static final int CAPACITY = 1024;

  private final MemorySegment fields;
  private final MemorySegment pointers;
  private int size;

  public ParameterBlock(Arena arena) {
    fields = arena.allocate(CAPACITY, 16);
    pointers = arena.allocate(ValueLayout.ADDRESS);
    pointers.set(ValueLayout.ADDRESS, 0, fields);
  }

  /** Starts anew. */
  public ParameterBlock reset() {
    size = 0;
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

  /** The structure's size so far, padded as the compiler pads it. */
  int size() {
    return (size + 7) & -8;
  }

  /** What cuLaunchKernel takes: an array of one address. */
  MemorySegment pointers() {
    return pointers;
  }
}
