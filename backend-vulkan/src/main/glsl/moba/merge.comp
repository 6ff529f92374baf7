#version 460
// MoBA's passes over rows, bound by memory.
//
//   moba_merge           adds the parts of each row (attend.comp) in slot order, its own block last
//   moba_backward_stats  lse * log2(e) and delta = rowsum(dout * out) of each row
//   moba_backward_merge  adds the parts of dq of each row (backward.comp) in slot order
//   moba_backward_seen_queries, moba_backward_seen_keys: seen.glsl
#include "batch.glsl"

#define GROUP 128
layout(local_size_x = GROUP) in;

#ifdef KERNEL_moba_merge
#define COLUMNS 8
#define AHEAD 4        // parts under way at once
#define SLOTS_AHEAD 8  // and of what is known of them
#define LOG_2 0.69314718055994531

STORED_ARGUMENTS {
  BATCH_ARGUMENTS;
  READS(parts);
  int part_pitch;
  READS(part_sums);
  CHANGES(selection);
  int64_t selection_token_pitch;
  int64_t selection_head_pitch;
  int columns;
  WRITES(result);
  int64_t out_token_pitch;
  int64_t out_head_pitch;
  WRITES(lse);
  int64_t lse_token_pitch;
  int64_t lse_head_pitch;
  int value_dim;
  int slots;
  int first_head;
  int heads;
  int aligned;
};
TAKES_ARGUMENTS;
#include "sequences.glsl"

// A work-item for 8 columns of a row of the pass.
void main() {
  int chunks = (a.value_dim + COLUMNS - 1) / COLUMNS;
  int slots = a.slots;
  int64_t i = global_id();
  int64_t row = quotient(i, chunks);
  int column = int(i - row * chunks) * COLUMNS;
  int64_t rows_of_head = int64_t(a.tokens) * a.group;
  if (row >= a.heads * rows_of_head) return;
  int head = int(quotient(row, rows_of_head));
  int64_t row_of_head = row - head * rows_of_head;
  int64_t token = quotient(row_of_head, a.group);
  int64_t query = int64_t(a.first_head + head) * a.group + row_of_head - token * a.group;
  int index = sequence_of_token(int(token));
  if (index < 0) return;

  int64_t first = row * (slots + 1);  // of the row's parts
  uint64_t chosen = 0ul;
  if (GIVEN(selection)) chosen = at(a.selection, token * a.selection_token_pitch + query * a.selection_head_pitch, 4);
  int count = 0;  // blocks that the row selected: then -1
  float highest = load_float2(a.part_sums, first + slots).x;
  bool ends = false;
  for (int n = 0; n < slots && !ends; n += SLOTS_AHEAD) {
    int blocks[SLOTS_AHEAD];
    float maxima[SLOTS_AHEAD];  // beyond the last block: what there happens to be
    [[unroll]] for (int k = 0; k < SLOTS_AHEAD; k++) {
      blocks[k] = -1;
      maxima[k] = 0.0;
      if (n + k < slots) {
        blocks[k] = load_int(chosen, n + k);
        maxima[k] = load_float2(a.part_sums, first + n + k).x;
      }
    }
    [[unroll]] for (int k = 0; k < SLOTS_AHEAD; k++) {
      ends = ends || blocks[k] < 0;
      if (!ends) {
        highest = larger(highest, maxima[k]);
        count++;
      }
    }
  }
  float base = highest == MINUS_INFINITY ? 0.0 : highest;
  float total = 0.0;
  Eight x = Eight(vec4(0.0), vec4(0.0));
  for (int n = 0; n <= count; n += AHEAD) {
    Eight values[AHEAD];
    float weights[AHEAD];
    [[unroll]] for (int k = 0; k < AHEAD; k++) {
      weights[k] = 0.0;
      values[k] = Eight(vec4(0.0), vec4(0.0));
      if (n + k <= count) {
        int slot = n + k < count ? n + k : slots;
        vec2 sum = load_float2(a.part_sums, first + slot);
        weights[k] = sum.y * exp2(sum.x - base);
        values[k] = load_eight(a.parts, (first + slot) * a.part_pitch + column);
      }
    }
    [[unroll]] for (int k = 0; k < AHEAD; k++) {
      total += weights[k];
      x.lo += weights[k] * values[k].lo;
      x.hi += weights[k] * values[k].hi;
    }
  }
  Sequence s = sequence_at(index);
  // A query of the cache whose own key is absent may see nothing at all.
  bool is_blind = false;
  if (total == 0.0) {
    is_blind = s.keys == 0;
    if (!is_blind && IS_PAGED) is_blind = page_of(index, int(token) + s.shift) < 0;
  }
  float factor = is_blind ? 0.0 : 1.0 / total;
  x.lo *= factor;
  x.hi *= factor;
  int64_t target = token * a.out_token_pitch + query * a.out_head_pitch + column;
  if (a.aligned != 0 && column + COLUMNS <= a.value_dim) {
    store_eight(a.result, target, x);
  } else {
    [[unroll]] for (int c = 0; c < COLUMNS; c++) {
      if (column + c < a.value_dim) STORE(a.result, target + c, column_of(x, c));
    }
  }
  if (column == 0) {
    if (is_blind) {
      for (int slot = 0; slot < a.columns; slot++) store_int(chosen, slot, -1);  // its parts are zeros: no matter who reads
    }
    if (GIVEN(lse)) {
      store_float(a.lse, token * a.lse_token_pitch + query * a.lse_head_pitch,
                  is_blind ? MINUS_INFINITY : highest * LOG_2 + log(total));
    }
  }
}
#endif

// ---- backward --------------------------------------------------------------------------------------------------

#ifdef KERNEL_moba_backward_stats
#define COLUMNS 8
#define STATS_LANES 16
#define LOG2_E 1.442695

STORED_ARGUMENTS {
  READS(forward);  // out
  int64_t out_token_pitch;
  int64_t out_head_pitch;
  READS(dout);
  int64_t dout_token_pitch;
  int64_t dout_head_pitch;
  READS(lse);
  int64_t lse_token_pitch;
  int64_t lse_head_pitch;
  READS(homes);
  WRITES(stats);
  int tokens;
  int query_heads;
  int value_dim;
  int aligned;
};
TAKES_ARGUMENTS;

shared float sums[GROUP];

// STATS_LANES work-items for each row token * query_heads + head.
void main() {
  int id = local_id();
  int lane = id % STATS_LANES;
  int64_t row = global_id() / STATS_LANES;
  int64_t token = quotient(row, a.query_heads);
  int64_t head = row - token * a.query_heads;
  bool live = token < a.tokens;
  if (live) live = load_int2(a.homes, token).x >= 0;
  float sum = 0.0;
  if (live) {
    int64_t o = token * a.out_token_pitch + head * a.out_head_pitch;
    int64_t d = token * a.dout_token_pitch + head * a.dout_head_pitch;
    for (int column = lane * COLUMNS; column < a.value_dim; column += STATS_LANES * COLUMNS) {
      if (a.aligned != 0 && column + COLUMNS <= a.value_dim) {
        Eight x = load_eight(a.forward, o + column), y = load_eight(a.dout, d + column);
        vec4 lo = x.lo * y.lo, hi = x.hi * y.hi;
        sum += ((lo.x + lo.y) + (lo.z + lo.w)) + ((hi.x + hi.y) + (hi.z + hi.w));
      } else {
        for (int c = column; c < min(column + COLUMNS, a.value_dim); c++) {
          sum += LOAD(a.forward, o + c) * LOAD(a.dout, d + c);
        }
      }
    }
  }
  sums[id] = sum;
  barrier();
  if (live && lane == 0) {
    float delta = 0.0;
    for (int i = 0; i < STATS_LANES; i++) delta += sums[id + i];
    float log_sum = load_float(a.lse, token * a.lse_token_pitch + head * a.lse_head_pitch);
    store_float2(a.stats, row, vec2(log_sum * LOG2_E, delta));
  }
}
#endif

#ifdef KERNEL_moba_backward_merge
#define AHEAD 4  // parts under way at once

STORED_ARGUMENTS {
  READS(selection);
  int64_t selection_token_pitch;
  int64_t selection_head_pitch;
  READS(homes);
  READS(parts);
  int part_pitch;
  WRITES(dq);
  int64_t dq_token_pitch;
  int64_t dq_head_pitch;
  int tokens;
  int group;
  int slots;
  int dim;
  int first_head;
  int heads;
  float scale;
};
TAKES_ARGUMENTS;
#include "lists.glsl"

// A work-item for 4 columns of a row of the pass.
void main() {
  int chunks = (a.dim + 3) / 4;
  int64_t i = global_id();
  int64_t row = quotient(i, chunks);
  int column = int(i - row * chunks) * 4;
  int64_t rows_of_head = int64_t(a.tokens) * a.group;
  if (row >= a.heads * rows_of_head) return;
  int head = int(quotient(row, rows_of_head));
  int64_t row_of_head = row - head * rows_of_head;
  int64_t token = quotient(row_of_head, a.group);
  int64_t query = int64_t(a.first_head + head) * a.group + row_of_head - token * a.group;
  Home home = load_int2(a.homes, token);
  if (home.x < 0) return;
  int64_t part = row * (a.slots + 1) * a.part_pitch + column;
  vec4 sum = vec4(0.0);
  for (int n = 0; n <= a.slots; n += AHEAD) {
    vec4 values[AHEAD];
    [[unroll]] for (int k = 0; k < AHEAD; k++) {
      int slot = n + k;
      bool counts = slot == a.slots;
      if (slot < a.slots) {
        counts =
            selected_block(a.selection, a.selection_token_pitch, a.selection_head_pitch, home, token, query, slot) >= 0;
      }
      values[k] = vec4(0.0);
      if (counts) values[k] = Floats4(at(a.parts, part + int64_t(slot) * a.part_pitch, 4)).v;
    }
    [[unroll]] for (int k = 0; k < AHEAD; k++) sum += values[k];
  }
  sum *= a.scale;
  int64_t target = token * a.dq_token_pitch + query * a.dq_head_pitch + column;
  bool aligned = (uint(at(a.dq, target, TYPE_BYTES)) & uint(4 * TYPE_BYTES - 1)) == 0u;
  if (aligned && column + 4 <= a.dim) {
    store_four(a.dq, target, sum);
  } else {
    [[unroll]] for (int c = 0; c < 4; c++) {
      if (column + c < a.dim) STORE(a.dq, target + c, sum[c]);
    }
  }
}
#endif

#if defined(KERNEL_moba_backward_seen_queries) || defined(KERNEL_moba_backward_seen_keys)
#include "seen.glsl"
#endif
