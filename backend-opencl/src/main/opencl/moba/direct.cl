// Attention of few query rows of the paged cache: decode and speculation, where the lists of lists.cl would have a row
// or two each. There are none here: a group takes one query row and one of its blocks, its own among them, and reads
// the keys and values that the row sees once, straight into registers; eight keys and eight values are under way in
// every work-item (four in F32). Parts and their sums are those of attend.cl, and so is what adds them (merge.cl).
//
// `lanes` neighbouring work-items share a key, 8 columns each: 8, 16 or 32 of them, the fewest that hold a row. Each such
// share of the group has a softmax of its own, over keys a fixed distance apart; they are added at the end. The sum over
// the lanes of a key goes by shuffles on NVIDIA (MATRIX 1), elsewhere through local memory. With shuffles a wave looks each
// of its keys up once: AHEAD keys of WAVE / 8 shares are at most WAVE.
#include "forward.clh"
#include "../common/matrix.clh"

#define GROUP 256
#define COLUMNS 8
#define LEAST_LANES 8
#define MOST_SHARES (GROUP / LEAST_LANES)

// COLUMNS neighbouring elements as memory has them.
#if TYPE == TYPE_F32
#define AHEAD 4
typedef float8 Columns;
static inline float8 widened(Columns bits) { return bits; }
#else
#define AHEAD 8
typedef uint4 Columns;
static inline float8 widened(Columns bits) { return (float8)(widen4(bits.lo, TYPE), widen4(bits.hi, TYPE)); }
#endif

#if UNITS == 1
#define BY_SHUFFLES 1
#define EXP2(x) exp2_fast(x)
#else
#define BY_SHUFFLES 0
#define EXP2(x) exp2(x)
#endif

// Zeros beyond the row's width, and for no row.
static inline Columns columns_of(const __global ELEMENT *row, int column, int width, int aligned) {
  if (row != 0 && aligned && column + COLUMNS <= width) {
#if TYPE == TYPE_F32
    return (Columns)(*(const __global float4 *)(row + column), *(const __global float4 *)(row + column + 4));
#else
    return *(const __global uint4 *)(row + column);
#endif
  }
  ELEMENT e[COLUMNS];
#pragma unroll
  for (int c = 0; c < COLUMNS; c++) e[c] = row != 0 && column + c < width ? row[column + c] : (ELEMENT)0;
#if TYPE == TYPE_F32
  return (Columns)(e[0], e[1], e[2], e[3], e[4], e[5], e[6], e[7]);
#else
  return (Columns)(e[0] | (uint)e[1] << 16, e[2] | (uint)e[3] << 16, e[4] | (uint)e[5] << 16,
                   e[6] | (uint)e[7] << 16);
#endif
}

static inline float dot_of_columns(float8 a, float8 b) {
  float4 x = fma(a.hi, b.hi, a.lo * b.lo);
  return (x.x + x.y) + (x.z + x.w);
}

// Elements from the first of the head's keys, and values, to those of a position; below 0: it is absent, or not before
// `end`.
typedef struct {
  long key, value;
} KeyPlace;

static inline KeyPlace key_place(BATCH_FORMAL, int sequence, int position, int end, long k_page_pitch, long k_slot_pitch,
                                 long v_page_pitch, long v_slot_pitch) {
  KeyPlace place = {-1, -1};
  if (position < end) {
    int2 at = key_at(BATCH, sequence, position);
    if (at.x >= 0) {
      place.key = at.x * k_page_pitch + at.y * k_slot_pitch;
      place.value = at.x * v_page_pitch + at.y * v_slot_pitch;
    }
  }
  return place;
}

// Groups along x: query tokens, and slots of each, its own block last; along y: query heads of the pass.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_direct(
    FORWARD_PARAMETERS, READS(selection), const long selection_token_pitch, const long selection_head_pitch,
    const int lanes) {
  __local float sums[GROUP * COLUMNS] __attribute__((aligned(16)));
  __local float maxima[MOST_SHARES];
  __local float totals[MOST_SHARES];
  BATCH_POINTERS;
  int slot = (int)(get_group_id(0) % (slots + 1));
  int token = (int)(get_group_id(0) / (slots + 1));
  int head = (int)get_group_id(1) / group;
  int g = (int)get_group_id(1) % group;
  int kv_head = first_head + head;
  long query = (long)kv_head * group + g;
  int sequence = sequence_of_token(cu_p, tokens, sequences, token);
  if (sequence < 0) return;
  Sequence s = sequence_at(BATCH, sequence);
  int begin = 0;
  int end = 0;
  if (s.keys > 0) {
    int position = token + s.shift;
    int own = position / block_size;
    int block = own;
    if (slot < slots) {
      block = CONST_AT(int, selection)[token * selection_token_pitch + query * selection_head_pitch + slot];
      if ((uint)block >= (uint)own) return;
    }
    begin = block * block_size;
    end = block == own ? position + 1 : begin + block_size;
  } else if (slot < slots) {
    return;
  }

  int id = (int)get_local_id(0);
  int share = id / lanes;
  int shares = GROUP / lanes;
  int column = id % lanes * COLUMNS;
#if BY_SHUFFLES
  int lane = id % WAVE;
  int shares_of_wave = WAVE / lanes;
  int first_share = id / WAVE * shares_of_wave;
#endif
  float8 row = widened(columns_of(ELEMENTS_AT(q) + token * q_token_pitch + query * q_head_pitch, column, dim,
                                aligned & ALIGNED_Q));
  const __global ELEMENT *keys = ELEMENTS_AT(k) + kv_head * k_head_pitch;
  const __global ELEMENT *values = ELEMENTS_AT(v) + kv_head * v_head_pitch;
  float maximum = MINUS_INFINITY;
  float total = 0;
  float8 output = 0;
  for (int base = begin; base < end; base += AHEAD * shares) {
    Columns key[AHEAD];
    Columns value[AHEAD];
    float x[AHEAD];
    float mask[AHEAD];
#if BY_SHUFFLES  // a lane finds one of the wave's keys, and tells the others
    KeyPlace found = key_place(BATCH, sequence, base + lane / shares_of_wave * shares + first_share + lane % shares_of_wave,
                               end, k_page_pitch, k_slot_pitch, v_page_pitch, v_slot_pitch);
#endif
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
#if BY_SHUFFLES
      int source = i * shares_of_wave + lane / lanes;
      KeyPlace place = {long_of_lane(found.key, source), long_of_lane(found.value, source)};
#else
      KeyPlace place = key_place(BATCH, sequence, base + i * shares + share, end, k_page_pitch, k_slot_pitch, v_page_pitch,
                                 v_slot_pitch);
#endif
      bool live = place.key >= 0;
      key[i] = columns_of(live ? keys + place.key : 0, column, dim, aligned & ALIGNED_K);
      value[i] = columns_of(live ? values + place.value : 0, column, value_dim, aligned & ALIGNED_V);
      mask[i] = live ? 0.0f : MINUS_INFINITY;
    }
#pragma unroll
    for (int i = 0; i < AHEAD; i++) x[i] = dot_of_columns(row, widened(key[i]));
#if BY_SHUFFLES
    for (int other = lanes / 2; other > 0; other /= 2) {
#pragma unroll
      for (int i = 0; i < AHEAD; i++) x[i] += of_lane_across(x[i], other);
    }
#else
#pragma unroll
    for (int i = 0; i < AHEAD; i++) sums[i * GROUP + id] = x[i];
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      const __local float4 *dots = (const __local float4 *)(sums + i * GROUP + share * lanes);
      float4 dot = dots[0];
      for (int n = 1; n < lanes / 4; n++) dot += dots[n];
      x[i] = (dot.x + dot.y) + (dot.z + dot.w);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
#pragma unroll
    for (int i = 0; i < AHEAD; i++) x[i] = mask[i] == 0 ? x[i] * scale_log2 : MINUS_INFINITY;
    float highest = maximum;
#pragma unroll
    for (int i = 0; i < AHEAD; i++) highest = fmax(highest, x[i]);
    float low = highest == MINUS_INFINITY ? 0.0f : highest;  // nothing seen yet: all weights become 0
    float factor = EXP2(maximum - low);
    maximum = highest;
    total *= factor;
    output *= factor;
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      float p = EXP2(x[i] - low);
      total += p;
      output = fma((float8)(p), widened(value[i]), output);
    }
  }

  vstore8(output, id, sums);
  if (column == 0) {
    maxima[share] = maximum;
    totals[share] = total;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  float highest = MINUS_INFINITY;
  for (int i = 0; i < shares; i++) highest = fmax(highest, maxima[i]);
  float low = highest == MINUS_INFINITY ? 0.0f : highest;
  float all = 0;
  for (int i = 0; i < shares; i++) all += totals[i] * EXP2(maxima[i] - low);
  float inverse = all == 0 ? 0.0f : 1 / all;  // 0: every key is absent, or has no weight
  long part = (((long)head * tokens + token) * group + g) * (slots + 1) + slot;
  __global ELEMENT *to = AT(ELEMENT, parts) + part * part_pitch;
  for (int c = id; c < part_pitch; c += GROUP) {
    float sum = 0;
    for (int i = 0; i < shares; i++) sum = fma(sums[i * lanes * COLUMNS + c], EXP2(maxima[i] - low), sum);
    to[c] = element_of(sum * inverse);
  }
  if (id == 0) AT(float2, part_sums)[part] = (float2)(highest, all);
  END_OF_GROUP;
}
