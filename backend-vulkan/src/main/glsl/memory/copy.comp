#version 460
// Copies from device memory to device memory: drivers were seen to copy at a fifth of what the memory gives.
#include "../common/types.glsl"

#define GROUP 256
#define UNITS_OF_ITEM 4
layout(local_size_x = GROUP) in;

// UNIT bytes are a unit; both addresses are multiples of that. A group for each GROUP * UNITS_OF_ITEM of them.
#if UNIT == 16
#define PLACE Words4
#define VALUE uvec4
#elif UNIT == 8
#define PLACE Words2
#define VALUE uvec2
#elif UNIT == 4
#define PLACE Word
#define VALUE uint
#elif UNIT == 2
#define PLACE Short
#define VALUE uint16_t
#else  // bytes are read and written, and no more: there need be no arithmetic of 8 bits
#define PLACE Byte
#define VALUE uint
#define NARROW uint8_t
#endif
#ifndef NARROW
#define NARROW
#endif

PUSHED_ARGUMENTS {
  READS(x);
  WRITES(result);
  int64_t count;
};
TAKES_ARGUMENTS;

void main() {
  const int64_t first = int64_t(group_id()) * (GROUP * UNITS_OF_ITEM) + gl_LocalInvocationID.x;
  VALUE ahead[UNITS_OF_ITEM];
  [[unroll]] for (int u = 0; u < UNITS_OF_ITEM; u++) {
    if (first + u * GROUP < a.count) ahead[u] = VALUE(PLACE(at(a.x, first + u * GROUP, UNIT)).v);
  }
  [[unroll]] for (int u = 0; u < UNITS_OF_ITEM; u++) {
    if (first + u * GROUP < a.count) PLACE(at(a.result, first + u * GROUP, UNIT)).v = NARROW(ahead[u]);
  }
}
