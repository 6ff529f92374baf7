// MoBA's passes over rows, bound by memory.
//
//   moba_merge           adds the parts of each row (attend.cl) in slot order, its own block last
//   moba_backward_stats  lse * log2(e) and delta = rowsum(dout * out) of each row
//   moba_backward_merge  adds the parts of dq of each row (backward.cl) in slot order
//   moba_backward_seen_queries, moba_backward_seen_keys: seen.clh
#include "lists.clh"

#define GROUP 128
#define COLUMNS 8
#define AHEAD 4  // parts under way at once
#define LOG_2 0.69314718055994531f

// A work-item for 8 columns of a row of the pass.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_merge(
    BATCH_PARAMETERS, READS(parts), const int part_pitch, READS(part_sums), CHANGES(selection),
    const long selection_token_pitch, const long selection_head_pitch, const int columns, WRITES(out),
    const long out_token_pitch, const long out_head_pitch, WRITES(lse), const long lse_token_pitch,
    const long lse_head_pitch, const int value_dim, const int slots, const int first_head, const int heads,
    const int aligned) {
  BATCH_POINTERS;
  int chunks = (value_dim + COLUMNS - 1) / COLUMNS;
  long i = get_global_id(0);
  long row = i / chunks;
  int column = (int)(i % chunks) * COLUMNS;
  if (row >= (long)heads * tokens * group) return;
  int head = (int)(row / ((long)tokens * group));
  long token = row / group % tokens;
  long query = (long)(first_head + head) * group + row % group;
  int index = sequence_of_token(cu_p, tokens, sequences, (int)token);
  if (index < 0) return;

  const __global float2 *sum_of = CONST_AT(float2, part_sums) + row * (slots + 1);
  __global int *chosen =
      GIVEN(selection) ? AT(int, selection) + token * selection_token_pitch + query * selection_head_pitch : 0;
  int count = 0;  // blocks that the row selected: then -1
  float highest = sum_of[slots].x;
  while (count < slots && chosen[count] >= 0) {
    highest = fmax(highest, sum_of[count].x);
    count++;
  }
  float base = highest == MINUS_INFINITY ? 0.0f : highest;
  float total = 0;
  float8 x = 0;
  const __global uchar *part = PLACE(parts);
  for (int n = 0; n <= count; n += AHEAD) {
    float8 values[AHEAD];
    float weights[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      bool live = n + i <= count;
      int slot = n + i < count ? n + i : slots;
      float2 sum = sum_of[slot];
      weights[i] = live ? sum.y * exp2(sum.x - base) : 0.0f;
      values[i] = live ? LOAD8(part, (row * (slots + 1) + slot) * part_pitch + column) : (float8)(0.0f);
    }
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      total += weights[i];
      x += weights[i] * values[i];
    }
  }
  Sequence s = sequence_at(BATCH, index);
  // A query of the cache whose own key is absent may see nothing at all.
  bool is_blind = total == 0 && (s.keys == 0 || (paged && page_of(BATCH, index, (int)token + s.shift) < 0));
  x *= is_blind ? 0.0f : 1 / total;
  long target = token * out_token_pitch + query * out_head_pitch + column;
  if (aligned && column + COLUMNS <= value_dim) {
    STORE8(PLACE(out), target, x);
  } else {
    float each[COLUMNS] = {x.s0, x.s1, x.s2, x.s3, x.s4, x.s5, x.s6, x.s7};
    for (int c = 0; c < COLUMNS && column + c < value_dim; c++) STORE(PLACE(out), target + c, each[c]);
  }
  if (column == 0) {
    for (int slot = 0; is_blind && slot < columns; slot++) chosen[slot] = -1;  // its parts are zeros: no matter who reads
    if (GIVEN(lse)) {
      AT(float, lse)[token * lse_token_pitch + query * lse_head_pitch] =
          is_blind ? MINUS_INFINITY : highest * LOG_2 + log(total);
    }
  }
}

// ---- backward --------------------------------------------------------------------------------------------------

#define STATS_LANES 16
#define LOG2_E 1.442695f

// STATS_LANES work-items for each row token * query_heads + head.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_backward_stats(
    READS(out), const long out_token_pitch, const long out_head_pitch, READS(dout), const long dout_token_pitch,
    const long dout_head_pitch, READS(lse), const long lse_token_pitch, const long lse_head_pitch, READS(homes),
    WRITES(stats), const int tokens, const int query_heads, const int value_dim, const int aligned) {
  __local float sums[GROUP];
  int id = (int)get_local_id(0);
  int lane = id % STATS_LANES;
  long row = get_global_id(0) / STATS_LANES;
  long token = row / query_heads;
  long head = row % query_heads;
  bool live = token < tokens && CONST_AT(Home, homes)[min(token, (long)tokens - 1)].x >= 0;
  float sum = 0;
  if (live) {
    long o = token * out_token_pitch + head * out_head_pitch;
    long d = token * dout_token_pitch + head * dout_head_pitch;
    for (int column = lane * COLUMNS; column < value_dim; column += STATS_LANES * COLUMNS) {
      if (aligned && column + COLUMNS <= value_dim) {
        float8 x = LOAD8(PLACE(out), o + column) * LOAD8(PLACE(dout), d + column);
        sum += ((x.s0 + x.s1) + (x.s2 + x.s3)) + ((x.s4 + x.s5) + (x.s6 + x.s7));
      } else {
        for (int c = column; c < min(column + COLUMNS, value_dim); c++) {
          sum += LOAD(PLACE(out), o + c) * LOAD(PLACE(dout), d + c);
        }
      }
    }
  }
  sums[id] = sum;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (live && lane == 0) {
    float delta = 0;
    for (int i = 0; i < STATS_LANES; i++) delta += sums[id + i];
    float log_sum = CONST_AT(float, lse)[token * lse_token_pitch + head * lse_head_pitch];
    AT(float2, stats)[row] = (float2)(log_sum * LOG2_E, delta);
  }
  END_OF_GROUP;
}

// A work-item for 4 columns of a row of the pass.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_backward_merge(
    READS(selection), const long selection_token_pitch, const long selection_head_pitch, READS(homes), READS(parts),
    const int part_pitch, WRITES(dq), const long dq_token_pitch, const long dq_head_pitch, const int tokens,
    const int group, const int slots, const int dim, const int first_head, const int heads, const float scale) {
  int chunks = (dim + 3) / 4;
  long i = get_global_id(0);
  long row = i / chunks;
  int column = (int)(i % chunks) * 4;
  if (row >= (long)heads * tokens * group) return;
  int head = (int)(row / ((long)tokens * group));
  long token = row / group % tokens;
  long query = (long)(first_head + head) * group + row % group;
  Home home = CONST_AT(Home, homes)[token];
  if (home.x < 0) return;
  const __global int *chosen = GIVEN(selection) ? CONST_AT(int, selection) : 0;
  const __global float *part = CONST_AT(float, parts) + row * (slots + 1) * part_pitch + column;
  float4 sum = 0;
  for (int slot = 0; slot <= slots; slot++) {
    if (slot == slots || selected_block(chosen, selection_token_pitch, selection_head_pitch, home, token, query, slot) >= 0) {
      sum += *(const __global float4 *)(part + (long)slot * part_pitch);
    }
  }
  float each[4] = {sum.s0, sum.s1, sum.s2, sum.s3};
  long target = token * dq_token_pitch + query * dq_head_pitch + column;
  for (int c = 0; c < 4 && column + c < dim; c++) STORE(PLACE(dq), target + c, scale * each[c]);
}

#include "seen.clh"
