// The plain tier of tile.glsl. The wave's work-items stand in a grid of PLAIN_ROWS x PLAIN_COLS; each holds a nearly square
// block of sums, so that of shared memory it reads few values for each multiply-add. Work-item (r, c) has rows r,
// r + PLAIN_ROWS, ... and the pairs of columns 2 c, 2 c + 1, 2 c + 2 PLAIN_COLS, ...: reads of neighbouring work-items then
// lie in neighbouring rows (PITCH keeps those in different banks) or are the same. Bit 0 of the lane belongs to c and bit 1
// to r: NVIDIA's hardware serves 16-byte reads of 16 work-items at once, not 8, where those that differ in one of these bits
// read the same.
#if TILE_M * WAVE >= 256 * TILE_N
#define PLAIN_ROWS 16
#elif TILE_M * WAVE >= 64 * TILE_N
#define PLAIN_ROWS 8
#elif TILE_M * WAVE >= 16 * TILE_N
#define PLAIN_ROWS 4
#elif TILE_M * WAVE >= 4 * TILE_N
#define PLAIN_ROWS 2
#else
#define PLAIN_ROWS 1
#endif
#define PLAIN_COLS (WAVE / PLAIN_ROWS)
#if PLAIN_ROWS == 1
#define LANE_ROW(lane) 0
#define LANE_COL(lane) (lane)
#else
#define LANE_ROW(lane) (((lane) >> 1 & 1) + ((lane) >> 2) / (PLAIN_COLS / 2) * 2)
#define LANE_COL(lane) (((lane) & 1) + ((lane) >> 2) % (PLAIN_COLS / 2) * 2)
#endif
#define BLOCK_M (TILE_M / PLAIN_ROWS)
#define BLOCK_N (TILE_N / PLAIN_COLS)

const int TILE(sums) = TILE_M * TILE_N / WAVE;
struct TILE(tile) {
  float sum[TILE_M * TILE_N / WAVE];
};

void TILE(clear)(out TILE(tile) acc) {
  UNROLL for (int e = 0; e < TILE(sums); e++) acc.sum[e] = 0.0;
}
int TILE(row)(int e, int lane) { return e / BLOCK_N * PLAIN_ROWS + LANE_ROW(lane); }
int TILE(col)(int e, int lane) { return e % BLOCK_N / 2 * (2 * PLAIN_COLS) + 2 * LANE_COL(lane) + e % 2; }

void TILE(multiply)(inout TILE(tile) acc, int a, int a_pitch, int b, int b_pitch, int k, int lane) {
  a += LANE_ROW(lane) * a_pitch;
  b += 2 * LANE_COL(lane) * b_pitch;
  [[dont_unroll]] for (int kk = 0; kk < k; kk += 4) {
    vec4 y[BLOCK_N];
    UNROLL for (int j = 0; j < BLOCK_N; j++) y[j] = values4_at(b + (j / 2 * (2 * PLAIN_COLS) + j % 2) * b_pitch + kk);
    UNROLL for (int i = 0; i < BLOCK_M; i++) {
      vec4 x = values4_at(a + i * PLAIN_ROWS * a_pitch + kk);
      UNROLL for (int j = 0; j < BLOCK_N; j++) acc.sum[i * BLOCK_N + j] += x.x * y[j].x;
      UNROLL for (int j = 0; j < BLOCK_N; j++) acc.sum[i * BLOCK_N + j] += x.y * y[j].y;
      UNROLL for (int j = 0; j < BLOCK_N; j++) acc.sum[i * BLOCK_N + j] += x.z * y[j].z;
      UNROLL for (int j = 0; j < BLOCK_N; j++) acc.sum[i * BLOCK_N + j] += x.w * y[j].w;
    }
  }
}

void TILE(multiply_kn)(inout TILE(tile) acc, int a, int a_pitch, int b, int b_pitch, int k, int lane) {
  a += LANE_ROW(lane) * a_pitch;
  b += 2 * LANE_COL(lane);
  [[dont_unroll]] for (int kk = 0; kk < k; kk += 4) {
    vec4 x[BLOCK_M];
    UNROLL for (int i = 0; i < BLOCK_M; i++) x[i] = values4_at(a + i * PLAIN_ROWS * a_pitch + kk);
    UNROLL for (int j = 0; j < BLOCK_N; j += 2) {
      const int from = b + kk * b_pitch + j * PLAIN_COLS;
      [[unroll]] for (int r = 0; r < 4; r++) {
        const vec2 y = values2_at(from + r * b_pitch);
        UNROLL for (int i = 0; i < BLOCK_M; i++) {
          acc.sum[i * BLOCK_N + j] += x[i][r] * y.x;
          acc.sum[i * BLOCK_N + j + 1] += x[i][r] * y.y;
        }
      }
    }
  }
}

void TILE(multiply_km)(inout TILE(tile) acc, int a, int a_pitch, int b, int b_pitch, int k, int lane) {
  a += LANE_ROW(lane);
  b += 2 * LANE_COL(lane);
  [[dont_unroll]] for (int kk = 0; kk < k; kk++) {
    vec2 y[BLOCK_N / 2];
    UNROLL for (int j = 0; j < BLOCK_N / 2; j++) y[j] = values2_at(b + kk * b_pitch + j * (2 * PLAIN_COLS));
    UNROLL for (int i = 0; i < BLOCK_M; i++) {
      const float x = value_at(a + kk * a_pitch + i * PLAIN_ROWS);
      UNROLL for (int j = 0; j < BLOCK_N / 2; j++) {
        acc.sum[i * BLOCK_N + 2 * j] += x * y[j].x;
        acc.sum[i * BLOCK_N + 2 * j + 1] += x * y[j].y;
      }
    }
  }
}

#undef PLAIN_ROWS
#undef PLAIN_COLS
#undef LANE_ROW
#undef LANE_COL
#undef BLOCK_M
#undef BLOCK_N
