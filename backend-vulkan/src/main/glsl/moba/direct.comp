#version 460
// Attention of few query rows of the paged cache: decode and speculation, where the lists of lists.comp would have a row
// or two each. There are none here: a group takes one query row and one of its blocks, its own among them, and reads
// the keys and values that the row sees once, straight into registers; eight keys and eight values are under way in
// every work-item (four in F32). Parts and their sums are those of attend.comp, and so is what adds them (merge.comp).
//
// `lanes` neighbouring work-items share a key, 8 columns each: 8, 16 or 32 of them, the fewest that hold a row. Each such
// share of the group has a softmax of its own, over keys a fixed distance apart; they are added at the end. The sum over
// the lanes of a key goes by shuffles where waves are subgroups (devices with cooperative matrices, MATRIX 5), elsewhere
// through shared memory. With shuffles a wave looks each of its keys up once: AHEAD keys of WAVE / 8 shares are at most
// WAVE.
#define BY_SHUFFLES (MATRIX != 0)
#if BY_SHUFFLES
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#define PAGED 1
#include "batch.glsl"
#include "forward.glsl"
#include "sequences.glsl"

#define GROUP 256
#define WAVE 32
#define COLUMNS 8
#define LEAST_LANES 8
#define MOST_SHARES (GROUP / LEAST_LANES)
layout(local_size_x = GROUP) in;

shared float sums[GROUP * COLUMNS];
shared float maxima[MOST_SHARES];
shared float totals[MOST_SHARES];

// COLUMNS neighbouring elements as memory has them.
#if TYPE == TYPE_F32
#define AHEAD 4
#define Columns Eight
const Eight NO_COLUMNS = Eight(vec4(0.0), vec4(0.0));
Eight widened(Columns v) { return v; }
Columns whole_columns(uint64_t row, int column) { return load_eight(row, column); }
#else
#define AHEAD 8
#define Columns uvec4
const uvec4 NO_COLUMNS = uvec4(0u);
Eight widened(Columns bits) { return Eight(widen4(bits.xy, TYPE), widen4(bits.zw, TYPE)); }
Columns whole_columns(uint64_t row, int column) { return Words4(at(row, column, 2)).v; }
#endif

// One by one; zeros beyond the row's width.
Columns any_columns(uint64_t row, int column, int width) {
  Columns columns = NO_COLUMNS;
  [[unroll]] for (int c = 0; c < COLUMNS; c++) {
    if (column + c < width) {
#if TYPE == TYPE_F32
      if (c < 4) {
        columns.lo[c] = load_float(row, column + c);
      } else {
        columns.hi[c - 4] = load_float(row, column + c);
      }
#else
      columns[c / 2] |= load_bits(row, column + c, TYPE) << (c % 2 * 16);
#endif
    }
  }
  return columns;
}

float dot_of_columns(Eight x, Eight y) {
  const vec4 products = fma(x.hi, y.hi, x.lo * y.lo);
  return (products.x + products.y) + (products.z + products.w);
}

// Bytes from the first of the head's keys, and values, to those of a position; below 0: it is absent, or not before `end`.
struct KeyPlace {
  int64_t key, value;
};

KeyPlace key_place(int sequence, int position, int end) {
  KeyPlace place = KeyPlace(-1, -1);
  if (position < end) {
    const ivec2 found = key_at(sequence, position);
    if (found.x >= 0) {
      place.key = (found.x * a.k_page_pitch + found.y * a.k_slot_pitch) * TYPE_BYTES;
      place.value = (found.x * a.v_page_pitch + found.y * a.v_slot_pitch) * TYPE_BYTES;
    }
  }
  return place;
}
#if BY_SHUFFLES
int64_t of_lane(int64_t v, int lane) {
  return int64_t(packUint2x32(subgroupShuffle(unpackUint2x32(uint64_t(v)), uint(lane))));
}
#endif

// Groups along x: query tokens, and slots of each, its own block last; along y: query heads of the pass.
void main() {
  const int slot = int(group_id() % uint(a.slots + 1)), token = int(group_id() / uint(a.slots + 1));
  const int head = int(gl_WorkGroupID.y) / a.group, g = int(gl_WorkGroupID.y) % a.group;
  const int kv_head = a.first_head + head;
  const int64_t query = int64_t(kv_head) * a.group + g;
  const int sequence = sequence_of_token(token);
  if (sequence < 0) return;
  const Sequence s = sequence_at(sequence);
  int begin = 0, end = 0;
  if (s.keys > 0) {
    const int position = token + s.shift;
    const int own = position / a.block_size;
    int block = own;
    if (slot < a.slots) {
      block = load_int(a.selection, token * a.selection_token_pitch + query * a.selection_head_pitch + slot);
      if (uint(block) >= uint(own)) return;
    }
    begin = block * a.block_size;
    end = block == own ? position + 1 : begin + a.block_size;
  } else if (slot < a.slots) {
    return;
  }

#if BY_SHUFFLES
  const int lane = int(gl_SubgroupInvocationID);
  const int id = int(gl_SubgroupID) * WAVE + lane;
  const int shares_of_wave = WAVE / a.lanes;
  const int first_share = int(gl_SubgroupID) * shares_of_wave;
#else
  const int id = local_id();
#endif
  const int lanes = a.lanes, shares = GROUP / lanes;
  const int share = id / lanes, column = id % lanes * COLUMNS;
  const int dim = a.dim, value_dim = a.value_dim;
  const uint64_t keys = a.k + uint64_t(kv_head * a.k_head_pitch * TYPE_BYTES);
  const uint64_t values = a.v + uint64_t(kv_head * a.v_head_pitch * TYPE_BYTES);
  // Of the whole group, so that what reads one by one is no branch within the other loop.
  const bool all_whole =
      (a.aligned & (ALIGNED_K | ALIGNED_V)) == (ALIGNED_K | ALIGNED_V) && (dim | value_dim) % COLUMNS == 0;
  const Eight row = widened(any_columns(
      a.q + uint64_t((token * a.q_token_pitch + query * a.q_head_pitch) * TYPE_BYTES), column, dim));

  float maximum = MINUS_INFINITY, total = 0.0;
  Eight result = Eight(vec4(0.0), vec4(0.0));
  const float scale_log2 = a.scale_log2;
  [[dont_unroll]] for (int base = begin; base < end; base += AHEAD * shares) {
#if BY_SHUFFLES  // a lane finds one of the wave's keys, and tells the others
    const KeyPlace found = key_place(
        sequence, base + lane / shares_of_wave * shares + first_share + lane % shares_of_wave, end);
#define PLACE(i)                                                             \
  KeyPlace(of_lane(found.key, (i) * shares_of_wave + lane / lanes), \
           of_lane(found.value, (i) * shares_of_wave + lane / lanes))
#else
#define PLACE(i) key_place(sequence, base + (i) * shares + share, end)
#endif
    Columns key[AHEAD], value[AHEAD];
    bool live[AHEAD];
    if (all_whole) {
      [[unroll]] for (int i = 0; i < AHEAD; i++) {
        const KeyPlace place = PLACE(i);
        live[i] = place.key >= 0;
        key[i] = NO_COLUMNS;
        value[i] = NO_COLUMNS;
        if (live[i] && column < dim) key[i] = whole_columns(keys + uint64_t(place.key), column);
        if (live[i] && column < value_dim) value[i] = whole_columns(values + uint64_t(place.value), column);
      }
    } else {  // one after the other: this is rare, and long where it is unrolled
      [[dont_unroll]] for (int n = 0; n < AHEAD; n++) {
        const KeyPlace place = PLACE(n);
        Columns one_key = NO_COLUMNS, one_value = NO_COLUMNS;
        if (place.key >= 0) {
          one_key = any_columns(keys + uint64_t(place.key), column, dim);
          one_value = any_columns(values + uint64_t(place.value), column, value_dim);
        }
        [[unroll]] for (int i = 0; i < AHEAD; i++) {
          if (i == n) {
            live[i] = place.key >= 0;
            key[i] = one_key;
            value[i] = one_value;
          }
        }
      }
    }

    float x[AHEAD];
    [[unroll]] for (int i = 0; i < AHEAD; i++) x[i] = dot_of_columns(row, widened(key[i]));
#if BY_SHUFFLES
    [[dont_unroll]] for (int other = lanes / 2; other > 0; other /= 2) {
      [[unroll]] for (int i = 0; i < AHEAD; i++) x[i] += subgroupShuffleXor(x[i], uint(other));
    }
#else
    [[unroll]] for (int i = 0; i < AHEAD; i++) sums[i * GROUP + id] = x[i];
    barrier();
    [[unroll]] for (int i = 0; i < AHEAD; i++) {
      vec4 part = vec4(0.0);
      for (int n = 0; n < lanes; n += 4) {
        const int from = i * GROUP + share * lanes + n;
        part += vec4(sums[from], sums[from + 1], sums[from + 2], sums[from + 3]);
      }
      x[i] = (part.x + part.y) + (part.z + part.w);
    }
    barrier();
#endif
    float highest = maximum;
    [[unroll]] for (int i = 0; i < AHEAD; i++) {
      x[i] = live[i] ? x[i] * scale_log2 : MINUS_INFINITY;
      highest = larger(highest, x[i]);
    }
    const float low = highest == MINUS_INFINITY ? 0.0 : highest;  // nothing seen yet: all weights become 0
    const float factor = exp2(maximum - low);
    maximum = highest;
    total *= factor;
    result.lo *= factor;
    result.hi *= factor;
    [[unroll]] for (int i = 0; i < AHEAD; i++) {
      const float p = exp2(x[i] - low);
      const Eight v = widened(value[i]);
      total += p;
      result.lo = fma(vec4(p), v.lo, result.lo);
      result.hi = fma(vec4(p), v.hi, result.hi);
    }
  }

  [[unroll]] for (int c = 0; c < COLUMNS; c++) sums[id * COLUMNS + c] = column_of(result, c);
  if (column == 0) {
    maxima[share] = maximum;
    totals[share] = total;
  }
  barrier();
  float highest = MINUS_INFINITY;
  for (int i = 0; i < shares; i++) highest = larger(highest, maxima[i]);
  const float low = highest == MINUS_INFINITY ? 0.0 : highest;
  float all = 0.0;
  for (int i = 0; i < shares; i++) all += totals[i] * exp2(maxima[i] - low);
  const float inverse = all == 0.0 ? 0.0 : 1.0 / all;  // 0: every key is absent, or has no weight
  const int64_t part = ((int64_t(head) * a.tokens + token) * a.group + g) * (a.slots + 1) + slot;
  for (int c = id; c < a.part_pitch; c += GROUP) {
    float sum = 0.0;
    for (int i = 0; i < shares; i++) sum = fma(sums[i * lanes * COLUMNS + c], exp2(maxima[i] - low), sum);
    STORE(a.parts, part * a.part_pitch + c, sum * inverse);
  }
  if (id == 0) store_float2(a.part_sums, part, vec2(highest, all));
}
