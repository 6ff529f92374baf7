#version 460
// For tests of the runtime.
#include "../../../main/glsl/common/types.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 3) const int FACTOR = 1;

#ifdef KERNEL_scale
// result[i] = FACTOR * x[i] + shift
PUSHED_ARGUMENTS {
  READS(x);
  WRITES(result);
  int64_t count;
  int step_size;
  float shift;
};
TAKES_ARGUMENTS;

void main() {
  int64_t i = global_id() * a.step_size;
  if (i < a.count) {
    float v = 1.0;
    if (GIVEN(x)) v = load_float(a.x, i);
    store_float(a.result, i, float(FACTOR) * v + a.shift);
  }
}
#endif

#ifdef KERNEL_squares
PUSHED_ARGUMENTS {
  CHANGES(x);
  int64_t count;
};
TAKES_ARGUMENTS;

void main() {
  int64_t i = global_id();
  if (i < a.count) {
    float v = load_float(a.x, i);
    store_float(a.x, i, v * v);
  }
}
#endif

#ifdef KERNEL_many
// The sum of sixteen arguments of different sizes, which are too many to push.
STORED_ARGUMENTS {
  WRITES(result);
  int a0;
  int64_t b0;
  float c0;
  int64_t b1;
  int a1;
  int a2;
  int a3;
  int64_t b2;
  int64_t b3;
  int64_t b4;
  int64_t b5;
  int64_t b6;
  int64_t b7;
  int64_t b8;
  int64_t b9;
  float c1;
};
TAKES_ARGUMENTS;

void main() {
  if (global_id() != 0) return;
  int64_t sum = a.b0 + a.b1 + a.b2 + a.b3 + a.b4 + a.b5 + a.b6 + a.b7 + a.b8 + a.b9 + a.a0 + a.a1 + a.a2 + a.a3;
  store_float(a.result, 0, float(sum) + a.c0 + a.c1 + float(WIDE));
}
#endif

#ifdef KERNEL_numbers
// Each group writes one where its number says.
PUSHED_ARGUMENTS {
  WRITES(result);
};
TAKES_ARGUMENTS;

void main() {
  if (gl_LocalInvocationID.x == 0 && group_id() < groups) store_bits(a.result, group_id(), 1u, TYPE_BF16);
}
#endif
