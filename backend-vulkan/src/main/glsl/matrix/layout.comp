#version 460
// Where the elements of cooperative matrices lie: kernels that keep rows of scores in registers want them as mma.sync of
// NVIDIA has them, and use this to learn whether a device does so. One group of one wave.
//
// Constants: TYPE (1 or 2), MATRIX, WAVE.
#extension GL_KHR_shader_subgroup_basic : require
#define TILE_CHUNKS 64
#include "../common/matrix.glsl"

layout(local_size_x = WAVE) in;

// result: of each work-item BLOCK_SUMS elements, of each the numbers 16 row + column that it has in a matrix of sums, in
// one of use A and in one of use B (there: 16 k + column).
PUSHED_ARGUMENTS {
  WRITES(result);
};
TAKES_ARGUMENTS;

void main() {
  START_TILES();
  const int lane = int(gl_SubgroupInvocationID);
  for (int i = 2 * lane; i < 256; i += 2 * WAVE) put_values2(i, vec2(i, i + 1));
  barrier();
  UNIT_A left;
  UNIT_B right;
  coopMatLoad(left, tile_memory, 0, 2, BY_ROWS);
  coopMatLoad(right, tile_memory, 0, 2, BY_ROWS);
  [[unroll]] for (int e = 0; e < BLOCK_SUMS; e++) {
    const int64_t place = 3 * (lane * BLOCK_SUMS + e);
    store_bits(a.result, place, uint(place_of_sum[e]), TYPE_F32);
    store_bits(a.result, place + 1, e < left.length() ? uint(float(left[e])) : 999u, TYPE_F32);
    store_bits(a.result, place + 2, e < right.length() ? uint(float(right[e])) : 999u, TYPE_F32);
  }
}
