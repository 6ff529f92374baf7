// Causal conv1d: packing weights, and adding up parameter gradients. Types are launch parameters.
#include "../common/types.clh"

// Weight and bias to [width + 1][packed_pitch] F32, tap by tap, then the bias: one work-item for each channel of the
// padded pitch. So the other kernels know one form, whatever the type and pitch.
__kernel void conv1d_pack(
    READS(weight),  // [C, W]
    READS(bias),    // [C], or none
    WRITES(packed), const long weight_pitch, const long packed_pitch, const int channels, const int width, const int type) {
  long c = (long)get_global_id(0);
  if (c >= packed_pitch) return;
  bool real = c < channels;
  for (int k = 0; k < width; k++) {
    AT(float, packed)[k * packed_pitch + c] = real ? load_value(PLACE(weight), c * weight_pitch + k, type) : 0.0f;
  }
  AT(float, packed)[width * packed_pitch + c] = real && GIVEN(bias) ? load_value(PLACE(bias), c, type) : 0.0f;
}

#define AT_ONCE 24  // loads on their way together

// One work-item for each gradient: adds the tiles in ascending order. group = k * columns + column.
__kernel void conv1d_reduce(
    READS(partial),   // [tiles, W + 1, pitch] float
    CHANGES(dweight), // [C, W], or none
    CHANGES(dbias),   // [C], or none
    const long pitch, const long dweight_pitch, const int tiles, const int width, const int channels, const int columns,
    const int type, const int accumulate) {
  int k = (int)(get_group_id(0) / columns);
  long c = (long)(get_group_id(0) % columns) * get_local_size(0) + get_local_id(0);
  bool weight = k < width;
  if (c >= channels || !(weight ? GIVEN(dweight) : GIVEN(dbias))) return;
  const __global float *p = CONST_AT(float, partial) + k * pitch + c;
  long stride = (width + 1) * pitch;
  float sum = 0.0f;
  for (int i = 0; i < tiles; i += AT_ONCE) {
    float v[AT_ONCE];
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++) v[u] = i + u < tiles ? p[(i + u) * stride] : 0.0f;
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++) sum += v[u];
  }
  __global uchar *target = weight ? PLACE(dweight) : PLACE(dbias);
  long at = weight ? c * dweight_pitch + k : c;
  if (accumulate) sum += load_value(target, at, type);
  store_value(target, at, sum, type);
}
