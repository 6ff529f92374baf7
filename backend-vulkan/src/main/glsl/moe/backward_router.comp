#version 460
// The router's part of the backward pass, all in F32: from the gradients of the slots' weights to those of the
// logits, to dx, and to the router's own parameters. The logit of a shared expert's gate is one column more.
//
//   tokens          a group for each token: gradients of its slots' weights, then of its logits
//   dx              dx[t] = dlogits[t] router_weight + the slots' dx in slot order + the shared expert's
//   router_weights  dlogits^T x, in pieces of tokens, which router_sums adds in order
#include "backward.glsl"

// ---- tokens ------------------------------------------------------------------------------------------------------

#ifdef KERNEL_moe_backward_tokens
#define TOKEN_GROUP 32    /* as MoeBackwardPass.java has it */
#define MOST_EXPERTS 1024 /* as MoeRecipe.java has it */

layout(local_size_x = TOKEN_GROUP) in;

// logits [T, experts], or none: no router. inverse [T, topK]: in, a guess; out, where a slot lies in the permutation, or
// -1. columns [T, column_pitch]: dlogits and the shared gate's. shared_logits [T], or none: no gate.
STORED_ARGUMENTS {
  READS(slot_experts);
  int64_t rows;
  READS(permutation);
  CHANGES(inverse);
  READS(ids);
  READS(logits);
  READS(auxiliary);
  READS(token_count);
  READS(weight_sums);
  MATRIX_OF(READS, dy);
  MATRIX_OF(READS, down_bias);
  WRITES(dgiven_weights);
  WRITES(dlogits);
  WRITES(columns);
  READS(shared_sums);
  READS(shared_weights);
  READS(shared_logits);
  int64_t id_pitch;
  int64_t logit_pitch;
  int64_t auxiliary_pitch;
  int64_t dgiven_pitch;
  int64_t dlogit_pitch;
  int64_t column_pitch;
  int64_t tokens;
  int top_k;
  int experts;
  int first_expert;
  int local_experts;
  int sum_tiles;
  int shared_tiles;
  int hidden;
  int router_columns;
  int score;
  int normalize;
  float epsilon;
  float scaling_factor;
};
TAKES_ARGUMENTS;

shared float values[TOKEN_GROUP];
shared float scores[MOST_EXPERTS];
shared float dscores[MOST_EXPERTS];   // of the experts: dscore of the slots that chose them
shared float dweights[MOST_EXPERTS];  // of the slots
shared int chosen[MOST_EXPERTS];      // of the slots: the expert, or -1

// The sum, or the largest, of a value of each work-item; all get it.
float group_sum(float v) {
  barrier();
  values[local_item()] = v;
  barrier();
  float sum = values[0];
  for (int i = 1; i < TOKEN_GROUP; i++) sum += values[i];
  return sum;
}
float group_max(float v) {
  barrier();
  values[local_item()] = v;
  barrier();
  float most = values[0];
  for (int i = 1; i < TOKEN_GROUP; i++) {
    if (values[i] > most) most = values[i];
  }
  return most;
}

float normalized(float s, float denominator, float best, float exponentials) {
  float v = 0.0;
  if (a.normalize == NORMALIZE_SOFTMAX) {
    v = divided(exp_of(s - best), exponentials);
  } else if (denominator != 0.0) {
    v = divided(s, denominator);
  }
  return v;
}

void main() {
  const int item = local_item();
  const int64_t t = int64_t(group_id());
  const int top_k = a.top_k, experts = a.experts, score = a.score, normalize = a.normalize;
  const bool there = t < PRESENT_OF(a.tokens);

  // Gradients of the weights of the token's slots: 0 where nobody computes the slot here.
  const ivec2 last = load_int2(a.slot_experts, a.local_experts - 1);
  for (int k = 0; k < top_k; k++) {
    const int64_t slot = t * top_k + k;
    int id = -1;
    if (there) id = load_int(a.ids, t * a.id_pitch + k);
    const int local_id = id >= a.first_expert && id - a.first_expert < a.local_experts ? id - a.first_expert : -1;
    int p = -1;
    if (local_id >= 0) {
      p = load_int(a.inverse, slot);
      if (p < 0 || p >= last.x + last.y) {
        p = -1;
      } else if (load_int(a.permutation, p) != slot) {
        p = -1;
      }
    }
    float sum = 0.0;
    if (p >= 0) {
      for (int i = item; i < a.sum_tiles; i += TOKEN_GROUP) sum += load_float(a.weight_sums, i * a.rows + p);
      if (GIVEN(down_bias)) {
        for (int h = item * 4; h < a.hidden; h += TOKEN_GROUP * 4) {
          vec4 d = load_four(ROW_AT(dy, 0, t), h, a.dy_type, a.hidden - h);
          vec4 b = load_four(ROW_AT(down_bias, local_id, 0), h, a.down_bias_type, a.hidden - h);
          sum = fma(d.x, b.x, fma(d.y, b.y, fma(d.z, b.z, fma(d.w, b.w, sum))));
        }
      }
    }
    sum = group_sum(sum);
    if (item == 0) {
      dweights[k] = sum;
      chosen[k] = id >= 0 && id < experts ? id : -1;
    }
    if (item == 0 && there) {
      store_int(a.inverse, slot, p);
      if (GIVEN(dgiven_weights)) store_float(a.dgiven_weights, t * a.dgiven_pitch + k, sum);
    }
  }
  barrier();

  const bool routed = there && GIVEN(logits);
  const int count = routed ? experts : 0;
  const uint64_t own = at(a.logits, t * a.logit_pitch, 4);
  float most = MINUS_INFINITY;
  for (int e = item; e < count; e += TOKEN_GROUP) {
    const float l = load_float(own, e);
    if (l > most) most = l;  // passes over NaN
  }
  most = group_max(most);
  float all = 0.0;
  for (int e = item; e < count; e += TOKEN_GROUP) {
    float s = load_float(own, e);
    if (score == SCORE_SOFTMAX) {
      s = exp_of(s - most);
    } else if (score == SCORE_SIGMOID) {
      s = sigmoid_of(s);
    }
    scores[e] = s;
    dscores[e] = 0.0;
    all += s;
  }
  all = group_sum(all);
  if (score == SCORE_SOFTMAX) {
    for (int e = item; e < count; e += TOKEN_GROUP) scores[e] = divided(scores[e], all);
  }
  barrier();
  float weighted = 0.0;
  if (routed) {
    // All work-items do the same over the few slots.
    float denominator = a.epsilon, best = MINUS_INFINITY, exponentials = 0.0, mean = 0.0;
    for (int k = 0; k < top_k; k++) {
      if (chosen[k] >= 0) {
        const float s = scores[chosen[k]];
        denominator += s;
        if (s > best) best = s;
      }
    }
    if (normalize == NORMALIZE_SOFTMAX) {
      for (int k = 0; k < top_k; k++) {
        if (chosen[k] >= 0) exponentials += exp_of(scores[chosen[k]] - best);
      }
    }
    if (normalize != NORMALIZE_NONE) {
      for (int k = 0; k < top_k; k++) {
        if (chosen[k] >= 0) {
          mean = fma(dweights[k], normalized(scores[chosen[k]], denominator, best, exponentials), mean);
        }
      }
    }
    for (int k = 0; k < top_k; k++) {  // in slot order: an expert may be chosen twice
      if (chosen[k] >= 0) {
        const float s = scores[chosen[k]];
        float d = dweights[k];
        if (normalize == NORMALIZE_SUM) {
          d = denominator == 0.0 ? 0.0 : divided(d - mean, denominator);
        } else if (normalize == NORMALIZE_SOFTMAX) {
          d = normalized(s, denominator, best, exponentials) * (d - mean);
        }
        d *= a.scaling_factor;
        if (score == SCORE_SOFTMAX) weighted = fma(d, s, weighted);
        if (item == 0) dscores[chosen[k]] += d;
      }
    }
  }
  barrier();
  if (routed) {
    for (int e = item; e < experts; e += TOKEN_GROUP) {
      float d = dscores[e];
      if (score == SCORE_SIGMOID) {
        d = d == 0.0 ? 0.0 : d * (scores[e] * sigmoid_of(-load_float(own, e)));
      } else if (score == SCORE_SOFTMAX) {
        d = scores[e] * (d - weighted);
      }
      if (GIVEN(auxiliary)) d += load_float(a.auxiliary, t * a.auxiliary_pitch + e);
      if (GIVEN(dlogits)) store_float(a.dlogits, t * a.dlogit_pitch + e, d);
      if (e < a.router_columns) store_float(a.columns, t * a.column_pitch + e, d);
    }
  }
  const bool gated = there && GIVEN(shared_logits);
  float sum = 0.0;
  if (gated) {
    for (int i = item; i < a.shared_tiles; i += TOKEN_GROUP) sum += load_float(a.shared_sums, i * a.tokens + t);
  }
  sum = group_sum(sum);
  if (gated && item == 0) {
    store_float(a.columns, t * a.column_pitch + a.router_columns,
                sum * (load_float(a.shared_weights, t) * sigmoid_of(-load_float(a.shared_logits, t))));
  }
}
#endif

// ---- dx ----------------------------------------------------------------------------------------------------------

#ifdef KERNEL_moe_backward_dx
#include "products.glsl"

// columns [T, column_count] F32. weight [column_count, H]: gates are the router's rows, the one up is the shared gate's.
// slot_dx [rows, H]; shared_dx [T, H], or none.
STORED_ARGUMENTS {
  MATRIX_OF(READS, columns);
  PROJECTION(READS, weight);
  READS(inverse);
  READS(token_count);
  MATRIX_OF(READS, slot_dx);
  MATRIX_OF(READS, shared_dx);
  MATRIX_OF(WRITES, dx);
  int64_t tokens;
  int top_k;
  int hidden;
  int column_count;
  int column_tiles;
};
TAKES_ARGUMENTS;

void main() {
  const int64_t present = PRESENT_OF(a.tokens);
  const int64_t first = int64_t(group_number() / a.column_tiles) * GROUP_M;
  const int column = group_number() % a.column_tiles * GROUP_N;
  if (first >= present) return;
  const int count = int(min(present - first, int64_t(GROUP_M)));
  const int hidden = a.hidden, column_count = a.column_count, columns_type = a.columns_type;
  FIND_ROWS(x_rows, GROUP_M, r, r < count && GIVEN(columns) ? ROW_AT(columns, 0, first + r) : 0ul);
  const Rows w_rows = PROJECTION_ROWS(weight, 0, column_count);
  uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
  const bool x_aligned = false;  // only floats are multiplied here
  clear_sums();
#define FETCH(k)                                                         \
  FETCH_BY_K(held_x, x_rows, GROUP_M, columns_type, k, column_count, x_aligned)     \
  FETCH_ALONG_K(held_w, w_rows, GROUP_N, k, column, hidden)
#define PUT(to)                                                          \
  PUT_BY_K(to, held_x, GROUP_M)                                          \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
  PRODUCT(column_count, FETCH, PUT, multiply_mixed);
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int64_t t = first + part * WM + r;
      const int of = column + c, valid = hidden - of;
      if (part * WM + r < count && valid > 0) {
        vec4 sum = vec4(0.0);
        for (int k = 0; k < a.top_k; k++) {
          const int p = load_int(a.inverse, t * a.top_k + k);
          if (p >= 0) sum += load_four(ROW_AT(slot_dx, 0, p), of, a.slot_dx_type, valid);
        }
        if (GIVEN(shared_dx)) sum += load_four(ROW_AT(shared_dx, 0, t), of, a.shared_dx_type, valid);
        store_four(ROW_AT(dx, 0, t), of, a.dx_type, sum + four_at(r, c), valid);
      }
    }
  }
}
#endif

// ---- router weights ----------------------------------------------------------------------------------------------

#ifdef KERNEL_moe_backward_router_weights
#include "products.glsl"

// partial [pieces, column_count, hidden]; a piece has `piece` tokens.
STORED_ARGUMENTS {
  MATRIX_OF(READS, columns);
  MATRIX_OF(READS, x);
  READS(token_count);
  WRITES(partial);
  int64_t tokens;
  int hidden;
  int column_count;
  int row_tiles;
  int column_tiles;
  int piece;
};
TAKES_ARGUMENTS;

void main() {
  const int tiles = a.row_tiles * a.column_tiles;
  const int number = group_number() / tiles;
  const int id = group_number() % tiles;
  const int row = id % a.row_tiles * GROUP_M, column = id / a.row_tiles * GROUP_N;
  const int hidden = a.hidden, column_count = a.column_count;
  const int64_t first = int64_t(number) * a.piece;
  const int depth = int(max(min(PRESENT_OF(a.tokens) - first, int64_t(a.piece)), 0l));
  const Rows x_rows = plain_rows(a.columns, a.columns_pitch, 0ul, int(first), depth, a.columns_type);
  const Rows w_rows = plain_rows(a.x, a.x_pitch, 0ul, int(first), depth, a.x_type);
  uvec4 held_x[HELD_ALONG_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
  clear_sums();
#define FETCH(k)                                                   \
  FETCH_ALONG_K(held_x, x_rows, GROUP_M, k, row, column_count)     \
  FETCH_ALONG_K(held_w, w_rows, GROUP_N, k, column, hidden)
#define PUT(to)                                                    \
  PUT_ALONG_K(to, held_x, GROUP_M)                                 \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
  PRODUCT(depth, FETCH, PUT, multiply_along_k);
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int m = row + part * WM + r, valid = hidden - column - c;
      if (m < column_count && valid > 0) {
        store_four(a.partial, (int64_t(number) * column_count + m) * hidden + column + c, TYPE_F32, four_at(r, c), valid);
      }
    }
  }
}
#endif

#ifdef KERNEL_moe_backward_router_sums
layout(local_size_x = 256) in;

// A work-item for each element. result [column_count, H]: gates are the router's rows, the one up is the shared gate's;
// those not given are not written.
STORED_ARGUMENTS {
  READS(partial);
  PROJECTION(CHANGES, result);
  int64_t pieces;
  int hidden;
  int column_count;
  int accumulate;
};
TAKES_ARGUMENTS;

void main() {
  const int64_t i = global_id();
  const int64_t all = int64_t(a.column_count) * a.hidden;
  if (i >= all) return;
  const int row = int(i / a.hidden), column = int(i % a.hidden);
  if (!PROJECTION_HAS(result, row)) return;
  float sum = 0.0;
  for (int piece = 0; piece < int(a.pieces); piece++) sum += load_float(a.partial, piece * all + i);
  const uint64_t to = PROJECTION_AT(result, 0, row);
  if (a.accumulate != 0) sum += load_value(to, column, a.result_type);
  store_value(to, column, sum, a.result_type);
}
#endif
