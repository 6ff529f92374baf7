package dev.weft.gpu;

import org.jspecify.annotations.Nullable;

/** The arguments of one dispatch, given in the order of the kernel's parameters. */
public interface Arguments {
  /**
   * A place in memory. In OpenCL C it is two parameters: {@code __global uchar *x, const ulong
   * x_at}; in GLSL one, {@code uint64_t x}, an address.
   *
   * @param region memory of the device; null gives a null pointer and 0
   */
  Arguments region(@Nullable Region region);

  /** An {@code int}. */
  Arguments value(int value);

  /** A {@code long}. */
  Arguments value(long value);

  /** A {@code float}. */
  Arguments value(float value);
}
