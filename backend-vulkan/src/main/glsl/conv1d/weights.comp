#version 460
// Causal conv1d: packing weights, and adding up parameter gradients. Types are launch arguments.
#include "../common/types.glsl"

layout(local_size_x = 128) in;

#ifdef KERNEL_conv1d_pack
// Weight and bias to [width + 1][packed_pitch] F32, tap by tap, then the bias: one work-item for each channel of the
// padded pitch. So the other kernels know one form, whatever the type and pitch.
PUSHED_ARGUMENTS {
  READS(weight);  // [C, W]
  READS(bias);    // [C], or none
  WRITES(packed);
  int64_t weight_pitch;
  int64_t packed_pitch;
  int channels;
  int width;
  int type;
};
TAKES_ARGUMENTS;

void main() {
  int64_t c = global_id();
  if (c >= a.packed_pitch) return;
  bool real = c < a.channels;
  for (int k = 0; k < a.width; k++) {
    float v = 0.0;
    if (real) v = load_value(a.weight, c * a.weight_pitch + k, a.type);
    store_float(a.packed, k * a.packed_pitch + c, v);
  }
  float v = 0.0;
  if (real && GIVEN(bias)) v = load_value(a.bias, c, a.type);
  store_float(a.packed, a.width * a.packed_pitch + c, v);
}
#endif

#ifdef KERNEL_conv1d_reduce
// One work-item for each gradient: adds the tiles in ascending order. group = k * columns + column.
PUSHED_ARGUMENTS {
  READS(partial);    // [tiles, W + 1, pitch] float
  CHANGES(dweight);  // [C, W], or none
  CHANGES(dbias);    // [C], or none
  int64_t pitch;
  int64_t dweight_pitch;
  int tiles;
  int width;
  int channels;
  int columns;
  int type;
  int accumulate;
};
TAKES_ARGUMENTS;

const int AT_ONCE = 24;  // loads on their way together

void main() {
  uint columns = uint(a.columns);
  int k = int(group_id() / columns);
  int64_t c = int64_t(group_id() % columns) * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  bool weight = k < a.width;
  if (c >= a.channels || !(weight ? GIVEN(dweight) : GIVEN(dbias))) return;
  int64_t p = k * a.pitch + c, stride = (a.width + 1) * a.pitch;
  float sum = 0.0;
  for (int i = 0; i < a.tiles; i += AT_ONCE) {
    float parts[AT_ONCE];
    [[unroll]] for (int u = 0; u < AT_ONCE; u++) {
      parts[u] = 0.0;
      if (i + u < a.tiles) parts[u] = load_float(a.partial, p + (i + u) * stride);
    }
    [[unroll]] for (int u = 0; u < AT_ONCE; u++) sum += parts[u];
  }
  uint64_t target = weight ? a.dweight : a.dbias;
  int64_t place = weight ? c * a.dweight_pitch + k : c;
  if (a.accumulate != 0) sum += load_value(target, place, a.type);
  store_value(target, place, sum, a.type);
}
#endif
