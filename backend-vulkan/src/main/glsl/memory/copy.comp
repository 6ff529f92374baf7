#version 460
// Copies from device memory to device memory: drivers were seen to copy at a fifth of what the memory gives.
#include "../common/types.glsl"

#define GROUP 256
#define CHUNKS_OF_ITEM 4
layout(local_size_x = GROUP) in;

// `chunks` of 16 bytes; both addresses are multiples of that. A group for each GROUP * CHUNKS_OF_ITEM of them.
PUSHED_ARGUMENTS {
  READS(x);
  WRITES(result);
  int64_t chunks;
};
TAKES_ARGUMENTS;

void main() {
  const int64_t first = int64_t(group_id()) * (GROUP * CHUNKS_OF_ITEM) + gl_LocalInvocationID.x;
  uvec4 ahead[CHUNKS_OF_ITEM];
  [[unroll]] for (int u = 0; u < CHUNKS_OF_ITEM; u++) {
    if (first + u * GROUP < a.chunks) ahead[u] = Words4(at(a.x, first + u * GROUP, 16)).v;
  }
  [[unroll]] for (int u = 0; u < CHUNKS_OF_ITEM; u++) {
    if (first + u * GROUP < a.chunks) Words4(at(a.result, first + u * GROUP, 16)).v = ahead[u];
  }
}
