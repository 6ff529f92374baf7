// A product of tiles: WAVE neighbouring work-items of a group add A B^T, A B or A^T B to a tile of float sums that they
// hold in private memory; A and B lie in shared memory, as the bits of floats whatever the storage type. Included once
// for each product, behind definitions that it takes back; no guard, on purpose:
//
//   PRODUCT(name)       such as score_##name
//   TILE_M, TILE_N      the tile of sums
//   SUMS                a private array of floats, which has PRODUCT(sums) for each tile
//   A, A_PITCH          of shared uints, and from one row to the next
//   B, B_PITCH
//   FORM                0: A is [TILE_M][k], B is [TILE_N][k]; 1: B is [k][TILE_N]; 2: and A is [k][TILE_M]
//
// declares PRODUCT(multiply)(sum, x, y, k), which adds to sums from SUMS[sum] on the product of what begins at A[x] and
// B[y], k a multiple of 4; and PRODUCT(row)(e), PRODUCT(col)(e), where sum e of this work-item lies in the tile.
//
// A wave's work-items stand in a grid of PLAIN_ROWS x PLAIN_COLS; each holds a nearly square block of sums, so that of
// shared memory it reads few values for each multiply-add. Work-item (r, c) has rows r, r + PLAIN_ROWS, ... and the
// pairs of columns 2 c, 2 c + 1, 2 c + 2 PLAIN_COLS, ... Nothing here waits for other work-items.
#if TILE_M * WAVE >= 256 * TILE_N
#define PLAIN_ROWS 16
#elif TILE_M * WAVE >= 64 * TILE_N
#define PLAIN_ROWS 8
#elif TILE_M * WAVE >= 16 * TILE_N
#define PLAIN_ROWS 4
#else
#define PLAIN_ROWS 2
#endif
#define PLAIN_COLS (WAVE / PLAIN_ROWS)
#define LANE (local_id() % WAVE)
#define LANE_ROW (LANE / PLAIN_COLS)
#define LANE_COL (LANE % PLAIN_COLS)
#define BLOCK_M (TILE_M / PLAIN_ROWS)
#define BLOCK_N (TILE_N / PLAIN_COLS)

const int PRODUCT(sums) = TILE_M * TILE_N / WAVE;

int PRODUCT(row)(int e) { return e / BLOCK_N * PLAIN_ROWS + LANE_ROW; }
int PRODUCT(col)(int e) { return e % BLOCK_N / 2 * (2 * PLAIN_COLS) + 2 * LANE_COL + e % 2; }

void PRODUCT(multiply)(int sum, int x, int y, int k) {
#if FORM == 0
  x += LANE_ROW * A_PITCH;
  y += 2 * LANE_COL * B_PITCH;
  [[dont_unroll]] for (int kk = 0; kk < k; kk += 4) {
    vec4 right[BLOCK_N];
    [[unroll]] for (int j = 0; j < BLOCK_N; j++) {
      int p = y + (j / 2 * (2 * PLAIN_COLS) + j % 2) * B_PITCH + kk;
      right[j] = uintBitsToFloat(uvec4(B[p], B[p + 1], B[p + 2], B[p + 3]));
    }
    [[unroll]] for (int i = 0; i < BLOCK_M; i++) {
      int p = x + i * PLAIN_ROWS * A_PITCH + kk;
      vec4 left = uintBitsToFloat(uvec4(A[p], A[p + 1], A[p + 2], A[p + 3]));
      [[unroll]] for (int n = 0; n < 4; n++) {
        [[unroll]] for (int j = 0; j < BLOCK_N; j++) SUMS[sum + i * BLOCK_N + j] += left[n] * right[j][n];
      }
    }
  }
#else
#if FORM == 1
  x += LANE_ROW * A_PITCH;
#else
  x += LANE_ROW;
#endif
  y += 2 * LANE_COL;
  [[dont_unroll]] for (int kk = 0; kk < k; kk++) {
    float right[BLOCK_N];
    [[unroll]] for (int j = 0; j < BLOCK_N; j++) {
      right[j] = uintBitsToFloat(B[y + kk * B_PITCH + j / 2 * (2 * PLAIN_COLS) + j % 2]);
    }
    [[unroll]] for (int i = 0; i < BLOCK_M; i++) {
#if FORM == 1
      float left = uintBitsToFloat(A[x + i * PLAIN_ROWS * A_PITCH + kk]);
#else
      float left = uintBitsToFloat(A[x + kk * A_PITCH + i * PLAIN_ROWS]);
#endif
      [[unroll]] for (int j = 0; j < BLOCK_N; j++) SUMS[sum + i * BLOCK_N + j] += left * right[j];
    }
  }
#endif
}

#undef PLAIN_ROWS
#undef PLAIN_COLS
#undef LANE
#undef LANE_ROW
#undef LANE_COL
#undef BLOCK_M
#undef BLOCK_N
#undef PRODUCT
#undef TILE_M
#undef TILE_N
#undef SUMS
#undef A
#undef A_PITCH
#undef B
#undef B_PITCH
#undef FORM
