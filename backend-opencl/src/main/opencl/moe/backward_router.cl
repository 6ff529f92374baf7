// The router's part of the backward pass, all in F32: from the gradients of the slots' weights to those of the
// logits, to dx, and to the router's own parameters. The logit of a shared expert's gate is one column more.
//
//   tokens          a group for each token: gradients of its slots' weights, then of its logits
//   dx              dx[t] = dlogits[t] router_weight + the slots' dx in slot order + the shared expert's
//   router_weights  dlogits^T x, in pieces of tokens, which router_sums adds in order
#include "backward.clh"
#include "products.clh"

// ---- tokens ------------------------------------------------------------------------------------------------------

#define TOKEN_GROUP 32    /* as MoeBackwardPass.java has it */
#define MOST_EXPERTS 1024 /* as MoeRecipe.java has it */

// The sum, or the largest, of a value of each work-item; all get it. Barriers stand outside of conditions here, whoever
// needs what they guard: see routing.cl.
static float group_sum(float v, __local float *values) {
  barrier(CLK_LOCAL_MEM_FENCE);
  values[get_local_id(0)] = v;
  barrier(CLK_LOCAL_MEM_FENCE);
  float sum = values[0];
  for (int i = 1; i < TOKEN_GROUP; i++) sum += values[i];
  return sum;
}
static float group_max(float v, __local float *values) {
  barrier(CLK_LOCAL_MEM_FENCE);
  values[get_local_id(0)] = v;
  barrier(CLK_LOCAL_MEM_FENCE);
  float most = values[0];
  for (int i = 1; i < TOKEN_GROUP; i++) most = fmax(most, values[i]);  // passes over NaN
  return most;
}

// logits [T, experts], or null: no router. inverse [T, topK]: in, a guess; out, where a slot lies in the permutation, or
// -1. dweights, dscores [T, topK] scratch. columns [T, column_pitch]: dlogits and the shared gate's. shared_logits [T],
// or null: no gate.
__kernel __attribute__((reqd_work_group_size(TOKEN_GROUP, 1, 1))) void moe_backward_tokens(
    READS(slot_experts), const long rows, READS(permutation), CHANGES(inverse), READS(ids), READS(logits),
    READS(auxiliary), READS(token_count), READS(weight_sums), MATRIX_OF(READS, dy), MATRIX_OF(READS, down_bias),
    WRITES(dgiven_weights), WRITES(dlogits), WRITES(columns), READS(shared_sums), READS(shared_weights),
    READS(shared_logits), const long id_pitch, const long logit_pitch, const long auxiliary_pitch,
    const long dgiven_pitch, const long dlogit_pitch, const long column_pitch, const long tokens, const int top_k,
    const int experts, const int first_expert, const int local_experts, const int sum_tiles, const int shared_tiles,
    const int hidden, const int router_columns, const int score, const int normalize, const float epsilon,
    const float scaling_factor) {
  __local float sums[TOKEN_GROUP];
  __local float scores[MOST_EXPERTS];
  __local float dscores[MOST_EXPERTS];  // of the experts: dscore of the slots that chose them
  __local float dweights[MOST_EXPERTS]; // of the slots
  __local int chosen[MOST_EXPERTS];     // of the slots: the expert, or -1
  const int item = (int)get_local_id(0);
  const long t = (long)get_group_id(0);
  const int there = t < PRESENT_OF(tokens);

  // Gradients of the weights of the token's slots: 0 where nobody computes the slot here.
  const int2 last = vload2(local_experts - 1, CONST_AT(int, slot_experts));
  for (int k = 0; k < top_k; k++) {
    const long slot = t * top_k + k;
    const int id = there ? CONST_AT(int, ids)[t * id_pitch + k] : -1;
    const long local_id = (long)id - first_expert;
    int p = -1;
    if (local_id >= 0 && local_id < local_experts) {
      p = AT(int, inverse)[slot];
      if (p < 0 || p >= last.s0 + last.s1 || CONST_AT(int, permutation)[p] != slot) p = -1;
    }
    float sum = 0.0f;
    if (p >= 0) {
      for (int i = item; i < sum_tiles; i += TOKEN_GROUP) sum += CONST_AT(float, weight_sums)[i * rows + p];
      if (GIVEN(down_bias)) {
        for (int h = item * 4; h < hidden; h += TOKEN_GROUP * 4) {
          float4 d = load_four(ROW_AT(dy, 0, t), h, dy_type, hidden - h);
          float4 b = load_four(ROW_AT(down_bias, local_id, 0), h, down_bias_type, hidden - h);
          sum = fma(d.s0, b.s0, fma(d.s1, b.s1, fma(d.s2, b.s2, fma(d.s3, b.s3, sum))));
        }
      }
    }
    sum = group_sum(sum, sums);
    if (item == 0) {
      dweights[k] = sum;
      chosen[k] = id >= 0 && id < experts ? id : -1;
    }
    if (item == 0 && there) {
      AT(int, inverse)[slot] = p;
      if (GIVEN(dgiven_weights)) AT(float, dgiven_weights)[t * dgiven_pitch + k] = sum;
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);

  const int routed = there && GIVEN(logits);
  const int count = routed ? experts : 0;
  const __global float *own = CONST_AT(float, logits) + t * logit_pitch;
  float most = -INFINITY;
  for (int e = item; e < count; e += TOKEN_GROUP) most = fmax(most, own[e]);
  most = group_max(most, sums);
  float all = 0.0f;
  for (int e = item; e < count; e += TOKEN_GROUP) {
    scores[e] = score == SCORE_SOFTMAX ? exp(own[e] - most) : score == SCORE_SIGMOID ? sigmoid_of(own[e]) : own[e];
    dscores[e] = 0.0f;
    all += scores[e];
  }
  all = group_sum(all, sums);
  if (score == SCORE_SOFTMAX) {
    for (int e = item; e < count; e += TOKEN_GROUP) scores[e] = divided(scores[e], all);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  float weighted = 0.0f;
  if (routed) {
    // All work-items do the same over the few slots.
    float denominator = epsilon, best = -INFINITY, exponentials = 0.0f, mean = 0.0f;
    for (int k = 0; k < top_k; k++) {
      if (chosen[k] >= 0) {
        denominator += scores[chosen[k]];
        best = fmax(best, scores[chosen[k]]);
      }
    }
    if (normalize == NORMALIZE_SOFTMAX) {
      for (int k = 0; k < top_k; k++) {
        if (chosen[k] >= 0) exponentials += exp(scores[chosen[k]] - best);
      }
    }
#define NORMALIZED(s) \
  (normalize == NORMALIZE_SUM ? (denominator == 0.0f ? 0.0f : divided(s, denominator)) : divided(exp((s)-best), exponentials))
    if (normalize != NORMALIZE_NONE) {
      for (int k = 0; k < top_k; k++) {
        if (chosen[k] >= 0) mean = fma(dweights[k], NORMALIZED(scores[chosen[k]]), mean);
      }
    }
    for (int k = 0; k < top_k; k++) {  // in slot order: an expert may be chosen twice
      if (chosen[k] >= 0) {
        const float s = scores[chosen[k]];
        float d = dweights[k];
        if (normalize == NORMALIZE_SUM) {
          d = denominator == 0.0f ? 0.0f : divided(d - mean, denominator);
        } else if (normalize == NORMALIZE_SOFTMAX) {
          d = NORMALIZED(s) * (d - mean);
        }
        d *= scaling_factor;
        if (score == SCORE_SOFTMAX) weighted = fma(d, s, weighted);
        if (item == 0) dscores[chosen[k]] += d;
      }
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (routed) {
    for (int e = item; e < experts; e += TOKEN_GROUP) {
      float d = dscores[e];
      if (score == SCORE_SIGMOID) {
        d = d == 0.0f ? 0.0f : d * (scores[e] * sigmoid_of(-own[e]));
      } else if (score == SCORE_SOFTMAX) {
        d = scores[e] * (d - weighted);
      }
      if (GIVEN(auxiliary)) d += CONST_AT(float, auxiliary)[t * auxiliary_pitch + e];
      if (GIVEN(dlogits)) AT(float, dlogits)[t * dlogit_pitch + e] = d;
      if (e < router_columns) AT(float, columns)[t * column_pitch + e] = d;
    }
  }
  const int gated = there && GIVEN(shared_logits);
  float sum = 0.0f;
  for (int i = item; gated && i < shared_tiles; i += TOKEN_GROUP) sum += CONST_AT(float, shared_sums)[i * tokens + t];
  sum = group_sum(sum, sums);
  if (gated && item == 0) {
    AT(float, columns)[t * column_pitch + router_columns] =
        sum * (CONST_AT(float, shared_weights)[t] * sigmoid_of(-CONST_AT(float, shared_logits)[t]));
  }
}

// ---- dx ----------------------------------------------------------------------------------------------------------

static inline Rows split_rows(long gate_row, long up_row, int gates, int count, int type) {
  Rows r = {gate_row * type_bytes(type), up_row * type_bytes(type), gates, 0, count, type};
  return r;
}

// columns [T, column_count] F32. weight [column_count, H]: gates are the router's rows, the one up is the shared gate's.
// slot_dx [rows, H]; shared_dx [T, H], or null.
__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_backward_dx(
    MATRIX_OF(READS, columns), PROJECTION(READS, weight), READS(inverse), READS(token_count), MATRIX_OF(READS, slot_dx),
    MATRIX_OF(READS, shared_dx), MATRIX_OF(WRITES, dx), const long tokens, const int top_k, const int hidden,
    const int column_count, const int column_tiles) {
  SHARED_MEMORY;
  const long present = PRESENT_OF(tokens);
  const long first = (long)(get_group_id(0) / column_tiles) * GROUP_M;
  const int column = (int)(get_group_id(0) % column_tiles) * GROUP_N;
  if (first >= present) return;
  const int count = (int)min(present - first, (long)GROUP_M);
  FIND_ROWS(a, GROUP_M, r, r < count && GIVEN(columns) ? ROW_AT(columns, 0, first + r) : 0);
  const Rows b = split_rows(weight_gate_row, weight_up_row, weight_gates, column_count, weight_type);
  const __global uchar *gates = PLACE(weight_gate), *ups = PLACE(weight_up);
  float acc[ACC];
  ZERO_TILE(acc);
#define STAGE(to, k)                                                                                        \
  do {                                                                                                      \
    STAGE_BY_K(to, a, GROUP_M, columns_type, k, column_count);                                              \
    STAGE_ALONG_K((to) + OPERAND_ELEMENTS(GROUP_M), b, gates, ups, 0, GROUP_N, k, column, hidden);          \
  } while (0)
  PRODUCT(column_count, STAGE, MULTIPLY_MIXED);
#undef STAGE
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    for (int i = (int)get_local_id(0); i < WM * (GROUP_N / 4); i += GROUP_SIZE) {
      const int r = i / (GROUP_N / 4), c = i % (GROUP_N / 4) * 4;
      const long t = first + part * WM + r;
      const int at = column + c, valid = hidden - at;
      if (part * WM + r >= count || valid <= 0) continue;
      float4 sum = (float4)(0.0f);
      for (int k = 0; k < top_k; k++) {
        const int p = CONST_AT(int, inverse)[t * top_k + k];
        if (p >= 0) sum += load_four(ROW_AT(slot_dx, 0, p), at, slot_dx_type, valid);
      }
      if (GIVEN(shared_dx)) sum += load_four(ROW_AT(shared_dx, 0, t), at, shared_dx_type, valid);
      store_four(ROW_AT(dx, 0, t), at, dx_type, sum + FOUR_AT(r, c), valid);
    }
  }
}

// ---- router weights ----------------------------------------------------------------------------------------------

// partial [pieces, column_count, hidden]; a piece has `piece` tokens.
__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_backward_router_weights(
    MATRIX_OF(READS, columns), MATRIX_OF(READS, x), READS(token_count), WRITES(partial), const long tokens,
    const int hidden, const int column_count, const int row_tiles, const int column_tiles, const int piece) {
  SHARED_MEMORY;
  const int tiles = row_tiles * column_tiles;
  const long number = (long)(get_group_id(0) / tiles);
  const int id = (int)(get_group_id(0) % tiles);
  const int row = id % row_tiles * GROUP_M, column = id / row_tiles * GROUP_N;
  const long first = number * piece;
  const int depth = (int)max(min(PRESENT_OF(tokens) - first, (long)piece), 0L);
  const Rows a = plain_rows(columns_pitch, (int)first, depth, columns_type);
  const Rows b = plain_rows(x_pitch, (int)first, depth, x_type);
  const __global uchar *a_rows = PLACE(columns), *b_rows = PLACE(x);
  float acc[ACC];
  ZERO_TILE(acc);
#define STAGE(to, k)                                                                                        \
  do {                                                                                                      \
    STAGE_ALONG_K(to, a, a_rows, a_rows, 0, GROUP_M, k, row, column_count);                                 \
    STAGE_ALONG_K((to) + OPERAND_ELEMENTS(GROUP_M), b, b_rows, b_rows, 0, GROUP_N, k, column, hidden);      \
  } while (0)
  PRODUCT(depth, STAGE, MULTIPLY_ALONG_K);
#undef STAGE
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    for (int i = (int)get_local_id(0); i < WM * (GROUP_N / 4); i += GROUP_SIZE) {
      const int r = i / (GROUP_N / 4), c = i % (GROUP_N / 4) * 4;
      const int m = row + part * WM + r, valid = hidden - column - c;
      if (m >= column_count || valid <= 0) continue;
      store_four(PLACE(partial), (number * column_count + m) * hidden + column + c, TYPE_F32, FOUR_AT(r, c), valid);
    }
  }
}

// A work-item for each element. out [column_count, H]: gates are the router's rows, the one up is the shared gate's;
// those not given are not written.
__kernel void moe_backward_router_sums(READS(partial), PROJECTION(CHANGES, out), const long pieces, const int hidden,
                                       const int column_count, const int accumulate) {
  const long i = (long)get_global_id(0);
  const long all = (long)column_count * hidden;
  if (i >= all) return;
  const int row = (int)(i / hidden);
  if (!PROJECTION_HAS(out, row)) return;
  float sum = 0.0f;
  for (long piece = 0; piece < pieces; piece++) sum += CONST_AT(float, partial)[piece * all + i];
  __global uchar *at = PROJECTION_AT(out, 0, row);
  store_value(at, i % hidden, accumulate ? sum + load_value(at, i % hidden, out_type) : sum, out_type);
}
