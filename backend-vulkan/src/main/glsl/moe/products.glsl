// Matrix products of a group of work-items: C[m, n] = sum over k of A[m, k] B[k, n], a tile of GROUP_M x GROUP_N of
// it, by waves that hold WM x WN each (tile_plain.glsl, tile_units.glsl). Every product of MoE, forward and backward, is
// one of these with an epilogue.
//
// A module defines TYPE, MATRIX, WAVE, WM, WN, GROUP_M, GROUP_N, DEPTH (the k of a stage, a multiple of 16) and STAGES
// (1 or 2). TYPE_F32 takes rows of any type, each known at run time, and multiplies floats; a 16-bit TYPE takes rows of
// that type only.
//
// Operands are rows of neighbouring elements, in one of two forms:
//   by k      a row is one m (or n), its elements run along k
//   along k   a row is one k, its elements run along m (or n)
// Rows are found by expressions, so that they may be gathered or lie in several tensors; a row that is not there has the
// address 0 and counts as zeros. Any pitch and any alignment: rows at multiples of 16 bytes move 16 bytes at a time.
#ifndef WEFT_MOE_PRODUCTS
#define WEFT_MOE_PRODUCTS

#include "experts.glsl"

#if TYPE == 0
#define CHUNK 4 /* elements in 16 bytes */
#else
#define CHUNK 8
#endif
// Whether rows have a way of their own where all is aligned. Large tiles have no registers left for two ways: that with
// waves of 64 x 32 lost a third of its speed on an H200.
#define WHOLE_CHUNKS (TYPE != 0 && GROUP_M == 16)
#define PITCH(n) ((n) + CHUNK)

#define WAVES_M (GROUP_M / WM)
#define WAVES_N (GROUP_N / WN)
#define GROUP_SIZE (WAVES_M * WAVES_N * WAVE)

layout(local_size_x = GROUP_SIZE) in;

#define MOST_OF(a, b) ((a) > (b) ? (a) : (b))
// Local memory is counted in chunks.
#define OPERAND_CHUNKS(n) (MOST_OF((n) * PITCH(DEPTH), DEPTH * PITCH(n)) / CHUNK)
#define STAGE_CHUNKS (OPERAND_CHUNKS(GROUP_M) + OPERAND_CHUNKS(GROUP_N))
#define SECOND_OPERAND OPERAND_CHUNKS(GROUP_M)
// A finished tile is left in local memory for the epilogue, WM rows at a time, as floats.
#define FINISHED_PITCH (GROUP_N + 4)
#define MEMORY_CHUNKS MOST_OF(STAGES * STAGE_CHUNKS, WM * FINISHED_PITCH / 4)

#define WAVE_M (local_item() / WAVE / WAVES_N)
#define WAVE_N (local_item() / WAVE % WAVES_N)

#if MATRIX == 0 || TYPE == 0
#include "tile_plain.glsl"
#else
#include "tile_units.glsl"
#endif

// ---- rows in memory ----------------------------------------------------------------------------------------------

// Rows that may be gathered and may lie in two places. Row r is memory row first + r, or index[first + r] (below 0: not
// there); memory rows from `split` on lie in the second place. Pitches in bytes.
struct Rows {
  uint64_t place_a, place_b, index;
  int64_t pitch_a, pitch_b;
  int split, first, count, type;
  bool aligned;
};

// Whether rows with a pitch in elements start at multiples of 16 bytes.
bool aligned_rows(uint64_t p, int64_t pitch, int type) {
  return aligned_to(p | uint64_t(pitch * type_bytes(type)), 16u);
}

Rows plain_rows(uint64_t p, int64_t pitch, uint64_t index, int first, int count, int type) {
  return Rows(p, p, index, pitch * type_bytes(type), 0, LARGEST_INT, first, count, type, aligned_rows(p, pitch, type));
}

uint64_t row_of(Rows rows, int r) {
  if (r >= rows.count) return 0ul;
  int i = rows.first + r;
  if (rows.index != 0ul) i = load_int(rows.index, i);
  if (i < 0) return 0ul;
  return i < rows.split ? rows.place_a + uint64_t(i * rows.pitch_a)
                        : rows.place_b + uint64_t((i - rows.split) * rows.pitch_b);
}

// One chunk: CHUNK elements of a row from element i on, of which `valid` are there.
uvec4 fetch_chunk(uint64_t row, int64_t i, int type, int valid) {
  uvec4 v = uvec4(0u);
  if (row != 0ul && valid > 0) {
#if TYPE == 0
    v = floatBitsToUint(load_four(row, i, type, valid));
#else
    const uint64_t p = at(row, i, 2);
    if (valid >= CHUNK && aligned_to(p, 16u)) {
      v = Words4(p).v;
    } else {
      [[unroll]] for (int e = 0; e < CHUNK; e++) {
        if (e < valid) v[e / 2] |= uint(Short(at(p, e, 2)).v) << (e % 2 * 16);
      }
    }
#endif
  }
  return v;
}

// ---- stages ------------------------------------------------------------------------------------------------------

// By k: a work-item moves one column of chunks in every ROW_STEP-th row; it keeps where they start.
#define CHUNKS_BY_K (DEPTH / CHUNK)
#define ROW_STEP (GROUP_SIZE / CHUNKS_BY_K)
#define HELD_BY_K(n) ((n) / ROW_STEP)
#define ROW_BY_K(j) (local_item() / CHUNKS_BY_K + (j) * ROW_STEP)
#define COLUMN_BY_K (local_item() % CHUNKS_BY_K)
#if GROUP_M % ROW_STEP != 0 || GROUP_N % ROW_STEP != 0
#error a tile must be whole rows of chunks for every work-item
#endif

// Declares `lines` for an operand of n rows; `expression` finds row `r` of the tile.
#define FIND_ROWS(lines, n, r, expression)                                              \
  uint64_t lines[HELD_BY_K(n)];                                                         \
  [[unroll]] for (int j_ = 0; j_ < HELD_BY_K(n); j_++) {                                \
    const int r = ROW_BY_K(j_);                                                         \
    lines[j_] = expression;                                                             \
  }

// Elements k .. k + DEPTH of `end` elements of each row. `aligned`, the same for the group, says that all rows start at
// multiples of 16 bytes.
#define FETCH_BY_K(held, lines, n, type, k, end, aligned)                                                         \
  if (WHOLE_CHUNKS && (aligned) && (k) + DEPTH <= (end)) {                                                        \
    [[unroll]] for (int j_ = 0; j_ < HELD_BY_K(n); j_++) {                                                        \
      held[j_] = uvec4(0u);                                                                                       \
      if (lines[j_] != 0ul) held[j_] = Words4(at(lines[j_], (k) + COLUMN_BY_K * CHUNK, 16 / CHUNK)).v;            \
    }                                                                                                             \
  } else {                                                                                                        \
    [[unroll]] for (int j_ = 0; j_ < HELD_BY_K(n); j_++) {                                                        \
      held[j_] = fetch_chunk(lines[j_], (k) + COLUMN_BY_K * CHUNK, type, (end) - (k) - COLUMN_BY_K * CHUNK);      \
    }                                                                                                             \
  }
#define PUT_BY_K(to, held, n)                                                                                     \
  [[unroll]] for (int j_ = 0; j_ < HELD_BY_K(n); j_++) {                                                          \
    put_chunk((to) + ROW_BY_K(j_) * (PITCH(DEPTH) / CHUNK) + COLUMN_BY_K, held[j_]);                              \
  }

// Where all is there and aligned, rows of the first operand are found once and kept as numbers of chunks from `base` (what
// is beyond the end repeats a row that is there), and those of the second lie evenly in two halves of the tile, from
// `low` and `high` on: one multiply-add finds each chunk.
#define FIND_CHUNKS(places, r, expression)                                              \
  uint places[HELD_BY_K(GROUP_M)];                                                      \
  [[unroll]] for (int j_ = 0; j_ < HELD_BY_K(GROUP_M); j_++) {                          \
    const int r = ROW_BY_K(j_);                                                         \
    places[j_] = uint(expression) + COLUMN_BY_K;                                        \
  }
#define FETCH_CHUNKS(held, base, places, k)                                             \
  [[unroll]] for (int j_ = 0; j_ < HELD_BY_K(GROUP_M); j_++) {                          \
    held[j_] = Words4((base) + uint64_t(places[j_] + uint(k) / CHUNK) * 16ul).v;        \
  }
#define FETCH_HALVES(held, low, low_step, high, high_step, k)                           \
  [[unroll]] for (int j_ = 0; j_ < HELD_BY_K(GROUP_N) / 2; j_++) {                      \
    held[j_] = Words4(at((low) + uint64_t(j_ * (low_step)), k, 16 / CHUNK)).v;          \
    held[HELD_BY_K(GROUP_N) / 2 + j_] = Words4(at((high) + uint64_t(j_ * (high_step)), k, 16 / CHUNK)).v; \
  }

// Rows along k of such operands: a work-item moves its column of chunks of every LINE_STEP-th row. Those from `base` on
// lie evenly; those of slots are found by `address`, of row number `r`, and there are none from `end` on.
#define LINE_STEP(n) (GROUP_SIZE / ((n) / CHUNK))
#define FETCH_LINES(held, base, step, n)                                                \
  [[unroll]] for (int j_ = 0; j_ < HELD_ALONG_K(n); j_++) {                             \
    held[j_] = Words4((base) + uint64_t(j_ * (step))).v;                                \
  }
#define FETCH_SLOTS(held, n, k, end, r, address)                                        \
  [[unroll]] for (int j_ = 0; j_ < HELD_ALONG_K(n); j_++) {                             \
    const int r = (k) + ROW_ALONG_K(n, j_);                                             \
    held[j_] = uvec4(0u);                                                               \
    if (r < (end)) held[j_] = Words4(address).v;                                        \
  }

// Along k: DEPTH rows, from row k on, of which elements start .. start + n up to `end`.
#define HELD_ALONG_K(n) (DEPTH * ((n) / CHUNK) / GROUP_SIZE)
#define ROW_ALONG_K(n, j) ((local_item() + (j) * GROUP_SIZE) / ((n) / CHUNK))
#define COLUMN_ALONG_K(n, j) ((local_item() + (j) * GROUP_SIZE) % ((n) / CHUNK))
#define FETCH_ALONG_K(held, rows, n, k, start, end)                                                               \
  if (WHOLE_CHUNKS && (rows).aligned && (start) + (n) <= (end)) {                                                 \
    [[unroll]] for (int j_ = 0; j_ < HELD_ALONG_K(n); j_++) {                                                     \
      const uint64_t row_ = row_of(rows, (k) + ROW_ALONG_K(n, j_));                                               \
      held[j_] = uvec4(0u);                                                                                       \
      if (row_ != 0ul) held[j_] = Words4(at(row_, (start) + COLUMN_ALONG_K(n, j_) * CHUNK, 16 / CHUNK)).v;        \
    }                                                                                                             \
  } else {                                                                                                        \
    [[unroll]] for (int j_ = 0; j_ < HELD_ALONG_K(n); j_++) {                                                     \
      const int from_ = (start) + COLUMN_ALONG_K(n, j_) * CHUNK;                                                  \
      held[j_] = fetch_chunk(row_of(rows, (k) + ROW_ALONG_K(n, j_)), from_, (rows).type, (end) - from_);          \
    }                                                                                                             \
  }
#define PUT_ALONG_K(to, held, n)                                                                                  \
  [[unroll]] for (int j_ = 0; j_ < HELD_ALONG_K(n); j_++) {                                                       \
    put_chunk((to) + ROW_ALONG_K(n, j_) * (PITCH(n) / CHUNK) + COLUMN_ALONG_K(n, j_), held[j_]);                  \
  }

// The loop over k. FETCH(k) brings a stage to registers, PUT(place) leaves it in local memory, multiply adds it to the
// sums. All work-items come by, with the same depth.
#if STAGES == 1 && GROUP_M > 16
// Large tiles of one deep stage: other groups multiply while this one copies. Reading ahead would take registers.
#define PRODUCT(depth, FETCH, PUT, multiply)                                  \
  do {                                                                        \
    for (int k_ = 0; k_ < (depth); k_ += DEPTH) {                             \
      FETCH(k_)                                                               \
      barrier(); /* nobody reads the stage before any more */                 \
      PUT(0)                                                                  \
      barrier();                                                              \
      multiply(0);                                                            \
    }                                                                         \
    barrier();                                                                \
  } while (false)
#else
// The next stage travels while this one is multiplied. With one stage in local memory everybody waits twice.
#define PRODUCT(depth, FETCH, PUT, multiply)                                              \
  do {                                                                                    \
    const int steps_ = ((depth) + DEPTH - 1) / DEPTH;                                     \
    int now_ = 0;                                                                         \
    if (steps_ > 0) {                                                                     \
      FETCH(0)                                                                            \
      if (STAGES == 2) {                                                                  \
        PUT(0)                                                                            \
      }                                                                                   \
    }                                                                                     \
    for (int step_ = 0; step_ < steps_; step_++) {                                        \
      barrier(); /* nobody reads the stage that comes next any more */                    \
      if (STAGES == 1) {                                                                  \
        PUT(0)                                                                            \
        barrier();                                                                        \
      }                                                                                   \
      if (step_ + 1 < steps_) {                                                           \
        FETCH((step_ + 1) * DEPTH)                                                        \
      }                                                                                   \
      multiply(now_);                                                                     \
      if (STAGES == 2) {                                                                  \
        now_ = STAGE_CHUNKS - now_;                                                       \
        if (step_ + 1 < steps_) {                                                         \
          PUT(now_)                                                                       \
        }                                                                                 \
      }                                                                                   \
    }                                                                                     \
    barrier();                                                                            \
  } while (false)
#endif

// ---- epilogue ----------------------------------------------------------------------------------------------------

// The finished tile, WM rows at a time: for (FINISHED_PARTS(part)) { LEAVE_PART(part); body }. In the body local memory
// holds rows part * WM .. of the tile, four_at(row within the part, column) are four neighbours.
#define FINISHED_PARTS(part) int part = 0; part < WAVES_M; part++
#define LEAVE_PART(part)                         \
  do {                                           \
    barrier();                                   \
    if (WAVE_M == (part)) leave_sums();          \
    barrier();                                   \
  } while (false)

// Each row and four of the columns of a finished part, of which `columns` count.
#define EACH_FOUR_OF(columns, r, c)                                                              \
  for (int i_ = local_item(); i_ < WM * ((columns) / 4); i_ += GROUP_SIZE)                       \
    for (int r = i_ / ((columns) / 4), c = i_ % ((columns) / 4) * 4, once_ = 1; once_ != 0; once_ = 0)
#define EACH_FOUR(r, c) EACH_FOUR_OF(GROUP_N, r, c)

#endif
