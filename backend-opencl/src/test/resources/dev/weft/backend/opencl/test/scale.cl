// For tests of the runtime: y[i] = FACTOR * x[i] + shift, and what its includes say.
#include "square.clh"
#include "square.clh" // guards itself

__kernel void scale(__global uchar *x, const ulong x_at, __global uchar *y, const ulong y_at,
                    const long count, const int step, const float shift) {
  const long i = (long)get_global_id(0) * step;
  if (i < count) {
    __global const float *from = (__global const float *)(x + x_at);
    __global float *to = (__global float *)(y + y_at);
    to[i] = FACTOR * (x ? from[i] : 1.0f) + shift;
  }
}

__kernel void squares(__global uchar *x, const ulong x_at, const long count) {
  const long i = (long)get_global_id(0);
  if (i < count) {
    __global float *at = (__global float *)(x + x_at);
    at[i] = square(at[i]);
  }
}
