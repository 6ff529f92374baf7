#version 460
// MoBA forward, packed or over the paged cache: attention of tiles of query rows, after selection (select.comp).
//
//   moba_listed     a group takes a tile of one list's rows (lists.comp) and meets the block's keys
//   moba_own        a group takes neighbouring rows of a sequence and meets their own blocks, causally
//   moba_merge      adds a row's parts, in slot order, its own block last (merge.comp)
//
// Keys and values of a block are read once for each tile of its readers, whatever the selection looks like, and every
// sum has an order that no scheduling changes. A part is a row's attention to one block: normalised, in the storage
// type, with its largest scaled score (in powers of two) and the sum of its weights. Row r of the head h of a pass has
// parts (h * tokens * group + r) * (slots + 1) + slot; the last is its own block's.
//
// Work of a group: ROWS queries stay in shared memory; keys and then values of KEYS positions take turns in a second
// tile. Scores pass through shared memory, where GROUP / ROWS work-items share a row of them: softmax is online and in
// powers of two. Sums of output are private. Tiles hold floats; nothing is rounded before parts are. Constants beside
// those of rows.glsl: SM, SN, the tile of scores of a wave; OM, ON, the tile of output of a wave, of which it has one.
#include "batch.glsl"
#include "forward.glsl"
#include "sequences.glsl"
#include "lists.glsl"
#include "rows.glsl"

#define WEIGHT_PITCH PITCH(KEYS)
#define OUTPUT_ROWS (ROWS / OM)

shared uint weights[ROWS * WEIGHT_PITCH];
shared float maxima[GROUP];
shared float factors[ROWS];
shared int64_t part_at[ROWS];
shared ivec2 seen_of[ROWS];
shared int present[KEYS];
shared int is_bad;

float output_sum[OM * ON / WAVE];
#define PRODUCT(name) output_##name
#define TILE_M OM
#define TILE_N ON
#define SUMS output_sum
#define A weights
#define A_PITCH WEIGHT_PITCH
#define B keys
#define B_PITCH ROW_PITCH
#define FORM 1
#include "product.glsl"

// Rows at positions [from, to) of a sequence, zeros in what is left of the tile or absent. Says whether any value of
// this work-item's is not finite.
bool load_keys(uint64_t base, int64_t page_pitch, int64_t slot_pitch, int sequence, int from, int to, int width,
               int columns, bool aligned, int id) {
  bool bad = false;
  uint chunks = uint(columns / CHUNK);
  for (int i = id; i < KEYS * int(chunks); i += GROUP) {
    int row = int(uint(i) / chunks), column = int(uint(i) % chunks) * CHUNK;
    uint64_t where = 0ul;
    if (row < to - from) {
      ivec2 place = key_at(sequence, from + row);
      if (place.x >= 0) where = place_in(base, place.x * page_pitch + place.y * slot_pitch);
    }
    uvec4 bits = load_chunk(where, column, width, aligned);
    PUT_CHUNK(keys, row * ROW_PITCH + column, bits);
    if (column == 0) present[row] = where != 0ul ? 1 : 0;
    bad = bad || !are_finite(bits);
  }
  return bad;
}

// Keys and values take turns in their tile: nothing sets out early.
void begin_keys(int kv_head, int sequence, int begin, int end) {}

// The rows of the group's tile meet the keys at positions [begin, end) of a sequence. Row r sees positions
// [seen_of[r].x, seen_of[r].y] of them; all rows see [all_from, all_to]. Leaves parts.
void attend(int kv_head, int sequence, int begin, int end, int all_from, int all_to) {
  int id = local_id();
  int wave = id / WAVE;
  int row = id % ROWS, segment = id / ROWS;  // whose softmax this work-item shares
  int dim = a.dim, value_dim = a.value_dim, aligned = a.aligned;
  int depth = padded(dim, 16), value_columns = padded(value_dim, ON);
  uint64_t k = place_in(a.k, kv_head * a.k_head_pitch), v = place_in(a.v, kv_head * a.v_head_pitch);
  // Tiles of output of this wave, if its columns are any.
  int first_row = wave % OUTPUT_ROWS * OM, first_column = wave / OUTPUT_ROWS * ON;
  bool has_output = first_column < value_dim;
  load_queries(a.q, dim, (aligned & ALIGNED_Q) != 0, id);

  [[unroll]] for (int e = 0; e < output_sums; e++) output_sum[e] = 0.0;
  float maximum = MINUS_INFINITY, total = 0.0;
  ivec2 seen = seen_of[row];
  int own_scores = row * SCORE_PITCH + segment * SEGMENT;
  for (int from = begin; from < end; from += KEYS) {
    load_keys(k, a.k_page_pitch, a.k_slot_pitch, sequence, from, end, dim, depth, (aligned & ALIGNED_K) != 0, id);
    if (id == 0) is_bad = 0;
    barrier();
    // A negative scale turns minus infinity round, so scores are scaled before they are masked.
    score(depth, a.scale_log2, id);
    barrier();

    bool is_masked = IS_PAGED || from < all_from || from + KEYS - 1 > all_to;
    float highest = MINUS_INFINITY;
    for (int i = 0; i < SEGMENT; i++) {
      int key = segment * SEGMENT + i;
      float x = scores[own_scores + i];
      if (is_masked && (from + key < seen.x || from + key > seen.y || present[key] == 0)) {
        x = MINUS_INFINITY;
        scores[own_scores + i] = x;
      }
      highest = larger(highest, x);
    }
    maxima[segment * ROWS + row] = highest;
    barrier();

    // Values take the place of keys. What a row does not see has weight 0, and 0 times NaN is NaN: so values of a
    // masked tile are looked through.
    bool bad = load_keys(v, a.v_page_pitch, a.v_slot_pitch, sequence, from, end, value_dim, value_columns,
                         (aligned & ALIGNED_V) != 0, id);
    if (bad && is_masked) is_bad = 1;
    highest = maximum;
    for (int s = 0; s < SEGMENTS; s++) highest = larger(highest, maxima[s * ROWS + row]);
    float base = highest == MINUS_INFINITY ? 0.0 : highest;  // nothing seen yet: all weights become 0
    float factor = exp2(maximum - base);
    maximum = highest;
    float added = 0.0;
    for (int i = 0; i < SEGMENT; i++) {
      float p = exp2(scores[own_scores + i] - base);
      added += p;
      weights[row * WEIGHT_PITCH + segment * SEGMENT + i] = floatBitsToUint(p);
    }
    total = total * factor + added;
    if (segment == 0) factors[row] = factor;
    barrier();

    if (has_output) {
      [[unroll]] for (int e = 0; e < output_sums; e++) output_sum[e] *= factors[first_row + output_row(e)];
      if (is_bad == 0) {
        output_multiply(0, first_row * WEIGHT_PITCH, first_column, KEYS);
      } else {
        for (int key = 0; key < KEYS; key++) {
          [[unroll]] for (int e = 0; e < output_sums; e++) {
            int r = first_row + output_row(e);
            ivec2 sees = seen_of[r];
            if (from + key >= sees.x && from + key <= sees.y) {
              output_sum[e] += uintBitsToFloat(weights[r * WEIGHT_PITCH + key]) *
                               uintBitsToFloat(keys[key * ROW_PITCH + first_column + output_col(e)]);
            }
          }
        }
      }
    }
    barrier();
  }

  // Parts leave by way of shared memory, in whole chunks.
  maxima[segment * ROWS + row] = total;
  barrier();
  if (segment == 0) {
    total = 0.0;
    for (int s = 0; s < SEGMENTS; s++) total += maxima[s * ROWS + row];
    factors[row] = total == 0.0 ? 0.0 : 1.0 / total;  // 0: every key is absent, or has no weight
    if (part_at[row] >= 0) store_float2(a.part_sums, part_at[row], vec2(maximum, total));
  }
  barrier();
  if (has_output) {
    [[unroll]] for (int e = 0; e < output_sums; e++) {
      int r = first_row + output_row(e);
      queries[r * ROW_PITCH + first_column + output_col(e)] = floatBitsToUint(output_sum[e] * factors[r]);
    }
  }
  barrier();
  for (int i = id; i < ROWS * CHUNKS; i += GROUP) {
    int r = i / CHUNKS, column = i % CHUNKS * CHUNK;
    if (column < value_dim && part_at[r] >= 0) {
      int from = r * ROW_PITCH + column;
      vec4 values =
          uintBitsToFloat(uvec4(queries[from], queries[from + 1], queries[from + 2], queries[from + 3]));
      store_four(a.parts, part_at[r] * a.part_pitch + column, values);
    }
  }
}

#include "attend.glsl"
