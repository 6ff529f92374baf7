// Wave tiles of floats on any device. The wave's work-items (WAVE neighbours, whatever the device's subgroups) stand in
// a grid of PLAIN_ROWS x PLAIN_COLS; each holds a nearly square block of sums, so that of local memory it reads few
// values for each multiply-add. Work-item (r, c) has rows r, r + PLAIN_ROWS, ... and the pairs of columns 2 c, 2 c + 1,
// 2 c + 2 PLAIN_COLS, ...: reads of neighbouring work-items then lie in neighbouring rows (the pitch keeps those in
// different banks) or are the same. Sums add up in ascending k.
//
// Local memory is of pairs, as the sums are: a component of a larger vector could not be stored by itself everywhere.
#ifndef WEFT_MOE_TILE_PLAIN
#define WEFT_MOE_TILE_PLAIN

#if TYPE != 0
#error the plain tier multiplies floats
#endif
#if WM * WAVE >= 256 * WN
#define PLAIN_ROWS 16
#elif WM * WAVE >= 64 * WN
#define PLAIN_ROWS 8
#elif WM * WAVE >= 16 * WN
#define PLAIN_ROWS 4
#elif WM * WAVE >= 4 * WN
#define PLAIN_ROWS 2
#else
#error waves are too wide
#endif
#define PLAIN_COLS (WAVE / PLAIN_ROWS)
#define LANE (local_item() % WAVE)
#define LANE_ROW ((LANE >> 1 & 1) + (LANE >> 2) / (PLAIN_COLS / 2) * 2)
#define LANE_COL ((LANE & 1) + (LANE >> 2) % (PLAIN_COLS / 2) * 2)
#define BLOCK_M (WM / PLAIN_ROWS)
#define BLOCK_N (WN / PLAIN_COLS)
#define BLOCK_PAIRS (BLOCK_N / 2)

shared vec2 memory[MEMORY_CHUNKS * 2];
vec2 acc[BLOCK_M * BLOCK_PAIRS];

void clear_sums() {
  [[unroll]] for (int e = 0; e < BLOCK_M * BLOCK_PAIRS; e++) acc[e] = vec2(0.0);
}

void put_chunk(int i, uvec4 v) {
  memory[2 * i] = uintBitsToFloat(v.xy);
  memory[2 * i + 1] = uintBitsToFloat(v.zw);
}

vec4 four_at(int r, int c) {
  const int i = (r * FINISHED_PITCH + c) / 2;
  return vec4(memory[i], memory[i + 1]);
}
// One value in place of four.
void leave_one(int r, int c, float v) { memory[(r * FINISHED_PITCH + c) / 2] = vec2(v, 0.0); }
float one_at(int r, int c) { return memory[(r * FINISHED_PITCH + c) / 2].x; }

void leave_sums() {
  [[unroll]] for (int e = 0; e < BLOCK_M * BLOCK_PAIRS; e++) {
    const int row = e / BLOCK_PAIRS * PLAIN_ROWS + LANE_ROW, pair = e % BLOCK_PAIRS * PLAIN_COLS + LANE_COL;
    memory[(row * FINISHED_PITCH + WAVE_N * WN) / 2 + pair] = acc[e];
  }
}

// Places in a stage, in pairs, of this work-item's first row or column.
#define FIRST_BY_K(from, row) ((from) * 2 + (row) * (PITCH(DEPTH) / 2))
#define FIRST_ALONG_K(from, pair) ((from) * 2 + (pair))
#define ROWS_OF_WAVE (WAVE_M * WM + LANE_ROW)
#define COLUMNS_OF_WAVE (WAVE_N * WN + 2 * LANE_COL)

// Four of k: x and y of rows by k.
vec4 four_of_k(int i) { return vec4(memory[i], memory[i + 1]); }

// A and B by k.
void multiply_by_k(int from) {
  const int x_first = FIRST_BY_K(from, ROWS_OF_WAVE);
  const int y_first = FIRST_BY_K(from + SECOND_OPERAND, COLUMNS_OF_WAVE);
  for (int k = 0; k < DEPTH; k += 4) {
    vec4 y[BLOCK_N];
    [[unroll]] for (int j = 0; j < BLOCK_N; j++) {
      y[j] = four_of_k(y_first + ((j / 2 * (2 * PLAIN_COLS) + j % 2) * PITCH(DEPTH) + k) / 2);
    }
    [[unroll]] for (int i = 0; i < BLOCK_M; i++) {
      vec4 x = four_of_k(x_first + (i * PLAIN_ROWS * PITCH(DEPTH) + k) / 2);
      [[unroll]] for (int e = 0; e < 4; e++) {
        [[unroll]] for (int j = 0; j < BLOCK_PAIRS; j++) {
          acc[i * BLOCK_PAIRS + j] = fma(vec2(x[e]), vec2(y[2 * j][e], y[2 * j + 1][e]), acc[i * BLOCK_PAIRS + j]);
        }
      }
    }
  }
}

// A by k, B along k.
void multiply_mixed(int from) {
  const int x_first = FIRST_BY_K(from, ROWS_OF_WAVE);
  const int y_first = FIRST_ALONG_K(from + SECOND_OPERAND, COLUMNS_OF_WAVE / 2);
  for (int k = 0; k < DEPTH; k += 4) {
    vec4 x[BLOCK_M];
    [[unroll]] for (int i = 0; i < BLOCK_M; i++) x[i] = four_of_k(x_first + (i * PLAIN_ROWS * PITCH(DEPTH) + k) / 2);
    [[unroll]] for (int e = 0; e < 4; e++) {
      [[unroll]] for (int j = 0; j < BLOCK_PAIRS; j++) {
        const vec2 y = memory[y_first + (k + e) * (PITCH(GROUP_N) / 2) + j * PLAIN_COLS];
        [[unroll]] for (int i = 0; i < BLOCK_M; i++) {
          acc[i * BLOCK_PAIRS + j] = fma(vec2(x[i][e]), y, acc[i * BLOCK_PAIRS + j]);
        }
      }
    }
  }
}

// Both along k.
void multiply_along_k(int from) {
  const int x_first = FIRST_ALONG_K(from, ROWS_OF_WAVE / 2), x_half = ROWS_OF_WAVE % 2;
  const int y_first = FIRST_ALONG_K(from + SECOND_OPERAND, COLUMNS_OF_WAVE / 2);
  for (int k = 0; k < DEPTH; k++) {
    vec2 y[BLOCK_PAIRS];
    [[unroll]] for (int j = 0; j < BLOCK_PAIRS; j++) y[j] = memory[y_first + k * (PITCH(GROUP_N) / 2) + j * PLAIN_COLS];
    [[unroll]] for (int i = 0; i < BLOCK_M; i++) {
      const vec2 both = memory[x_first + k * (PITCH(GROUP_M) / 2) + i * (PLAIN_ROWS / 2)];
      const float x = x_half == 0 ? both.x : both.y;
      [[unroll]] for (int j = 0; j < BLOCK_PAIRS; j++) {
        acc[i * BLOCK_PAIRS + j] = fma(vec2(x), y[j], acc[i * BLOCK_PAIRS + j]);
      }
    }
  }
}

#endif
