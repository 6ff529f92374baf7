// Wave tiles of a 16-bit type on matrix units: VK_KHR_cooperative_matrix, blocks of 16 x 16 x 16 with float sums. A
// wave is a subgroup. Which sum a work-item holds is not known, so the tile is left in local memory as a whole.
#ifndef WEFT_MOE_TILE_UNITS
#define WEFT_MOE_TILE_UNITS

#include "../common/unit_types.glsl"

#define BLOCKS_M (WM / 16)
#define BLOCKS_N (WN / 16)

shared uvec4 memory[MEMORY_CHUNKS];
UNIT_SUMS acc[BLOCKS_M * BLOCKS_N];

void clear_sums() {
  [[unroll]] for (int e = 0; e < BLOCKS_M * BLOCKS_N; e++) acc[e] = UNIT_SUMS(0.0);
}
void scale_sums(float factor) {
  [[unroll]] for (int e = 0; e < BLOCKS_M * BLOCKS_N; e++) acc[e] = acc[e] * factor;
}

void put_chunk(int i, uvec4 v) { memory[i] = v; }

vec4 four_at(int r, int c) { return uintBitsToFloat(memory[(r * FINISHED_PITCH + c) / 4]); }
// One value in place of four.
void leave_one(int r, int c, float v) { memory[(r * FINISHED_PITCH + c) / 4] = uvec4(floatBitsToUint(v), 0u, 0u, 0u); }
float one_at(int r, int c) { return uintBitsToFloat(memory[(r * FINISHED_PITCH + c) / 4].x); }

void leave_sums() {
  [[unroll]] for (int i = 0; i < BLOCKS_M; i++) {
    [[unroll]] for (int j = 0; j < BLOCKS_N; j++) {
      coopMatStore(acc[i * BLOCKS_N + j], memory, (i * 16 * FINISHED_PITCH + WAVE_N * WN + j * 16) / 4,
                   FINISHED_PITCH / 4, BY_ROWS);
    }
  }
}

#define PITCH_BY_K (PITCH(DEPTH) / CHUNK)
#define X_BY_K(i, k) ((WAVE_M * WM + (i) * 16) * PITCH_BY_K + (k) / CHUNK)
#define Y_BY_K(j, k) ((WAVE_N * WN + (j) * 16) * PITCH_BY_K + (k) / CHUNK)
#define X_ALONG_K(i, k) ((k) * (PITCH(GROUP_M) / CHUNK) + (WAVE_M * WM + (i) * 16) / CHUNK)
#define Y_ALONG_K(j, k) ((k) * (PITCH(GROUP_N) / CHUNK) + (WAVE_N * WN + (j) * 16) / CHUNK)

#define MULTIPLY_BLOCKS(x_at, x_pitch, x_layout, y_at, y_pitch, y_layout)                                       \
  [[unroll]] for (int k = 0; k < DEPTH; k += 16) {                                                              \
    UNIT_A x[BLOCKS_M];                                                                                         \
    [[unroll]] for (int i = 0; i < BLOCKS_M; i++) coopMatLoad(x[i], memory, from + x_at(i, k), x_pitch, x_layout); \
    [[unroll]] for (int j = 0; j < BLOCKS_N; j++) {                                                             \
      UNIT_B y;                                                                                                 \
      coopMatLoad(y, memory, from + SECOND_OPERAND + y_at(j, k), y_pitch, y_layout);                            \
      [[unroll]] for (int i = 0; i < BLOCKS_M; i++) {                                                           \
        acc[i * BLOCKS_N + j] = coopMatMulAdd(x[i], y, acc[i * BLOCKS_N + j]);                                  \
      }                                                                                                         \
    }                                                                                                           \
  }

// A and B by k.
void multiply_by_k(int from) { MULTIPLY_BLOCKS(X_BY_K, PITCH_BY_K, BY_ROWS, Y_BY_K, PITCH_BY_K, BY_COLUMNS) }
// A by k, B along k.
void multiply_mixed(int from) {
  MULTIPLY_BLOCKS(X_BY_K, PITCH_BY_K, BY_ROWS, Y_ALONG_K, PITCH(GROUP_N) / CHUNK, BY_ROWS)
}
// Both along k.
void multiply_along_k(int from) {
  MULTIPLY_BLOCKS(X_ALONG_K, PITCH(GROUP_M) / CHUNK, BY_COLUMNS, Y_ALONG_K, PITCH(GROUP_N) / CHUNK, BY_ROWS)
}

#endif
