// The tier of tile.glsl that has matrix units: the tile is a grid of 16 x 16 blocks, and sum e of it is sum e % BLOCK_SUMS
// of block e / BLOCK_SUMS, which are counted row by row. See units.glsl.
#define BLOCKS_M (TILE_M / 16)
#define BLOCKS_N (TILE_N / 16)

const int TILE(sums) = TILE_M * TILE_N / WAVE;
struct TILE(tile) {
  UNIT_SUMS block[BLOCKS_M * BLOCKS_N];
};

void TILE(clear)(out TILE(tile) acc) {
  [[unroll]] for (int i = 0; i < BLOCKS_M * BLOCKS_N; i++) acc.block[i] = UNIT_SUMS(0.0);
}
int TILE(row)(int e, int lane) { return e / (BLOCK_SUMS * BLOCKS_N) * 16 + (place_of_sum[e % BLOCK_SUMS] >> 4); }
int TILE(col)(int e, int lane) { return e / BLOCK_SUMS % BLOCKS_N * 16 + (place_of_sum[e % BLOCK_SUMS] & 15); }

// The inner loops of the three forms: 16 of k at a time, all of A, then B block by block.
#define MULTIPLY_BLOCKS(a_place, a_layout, b_place, b_layout)                                          \
  for (int kk = 0; kk < k; kk += 16) {                                                                 \
    UNIT_A x[BLOCKS_M];                                                                                \
    [[unroll]] for (int i = 0; i < BLOCKS_M; i++) {                                                    \
      coopMatLoad(x[i], tile_memory, uint(a_place) / CHUNK, uint(a_pitch) / CHUNK, a_layout);          \
    }                                                                                                  \
    [[unroll]] for (int j = 0; j < BLOCKS_N; j++) {                                                    \
      UNIT_B y;                                                                                        \
      coopMatLoad(y, tile_memory, uint(b_place) / CHUNK, uint(b_pitch) / CHUNK, b_layout);             \
      [[unroll]] for (int i = 0; i < BLOCKS_M; i++) {                                                  \
        acc.block[i * BLOCKS_N + j] = coopMatMulAdd(x[i], y, acc.block[i * BLOCKS_N + j]);             \
      }                                                                                                \
    }                                                                                                  \
  }

void TILE(multiply)(inout TILE(tile) acc, int a, int a_pitch, int b, int b_pitch, int k, int lane) {
  MULTIPLY_BLOCKS(a + i * 16 * a_pitch + kk, BY_ROWS, b + j * 16 * b_pitch + kk, BY_COLUMNS)
}
void TILE(multiply_kn)(inout TILE(tile) acc, int a, int a_pitch, int b, int b_pitch, int k, int lane) {
  MULTIPLY_BLOCKS(a + i * 16 * a_pitch + kk, BY_ROWS, b + kk * b_pitch + j * 16, BY_ROWS)
}
void TILE(multiply_km)(inout TILE(tile) acc, int a, int a_pitch, int b, int b_pitch, int k, int lane) {
  MULTIPLY_BLOCKS(a + kk * a_pitch + i * 16, BY_COLUMNS, b + kk * b_pitch + j * 16, BY_ROWS)
}

#undef MULTIPLY_BLOCKS
#undef BLOCKS_M
#undef BLOCKS_N
