// From logits to experts and their weights. All of it F32.
//
// moe_logits_few: logits[t, e] = x[t] . rows[e] + bias[e], a group for one expert and four tokens, straight from memory.
// Many tokens: moe_logits of logits.cl.
//
// moe_route: a group chooses a token's experts, one after another: each work-item looks for the best key among every
// 32nd expert, then all of them for the best of theirs. Keys are raw logits without a correction bias (a saturated score
// cannot reorder then), else score + bias. They compare as ordered integers: NaN like minus infinity, equal keys go to
// the lower expert, taken ones come last of all. Scores of softmax use the exact difference to the largest logit (its
// rounding error multiplies in), and their sum is of two floats: neither may move a key by more than a few ulps.
//
// Barriers stand outside of conditions, whoever needs what they guard: some compilers for CPUs copy the rest of a kernel
// for each condition that holds one.
#include "experts.clh"

#define GROUP 64 /* of moe_logits_few */
#define ROUTE_GROUP 32
#define FEW 4             /* tokens of a group, as RoutingPass.java has it */
#define MOST_EXPERTS 1024 /* as MoeRecipe.java has it */

#define ALIGNED_TO(p, bytes) (((size_t)(p) & ((bytes) - 1)) == 0)

static inline float4 load_four(const __global uchar *row, int i, int type, int valid) {
  float4 v = (float4)(0.0f);
  const __global uchar *p = row + (long)i * type_bytes(type);
  if (valid >= 4 && ALIGNED_TO(p, type == TYPE_F32 ? 16 : 8)) return load4(p, 0, type);
  if (valid > 0) v.s0 = load_value(p, 0, type);
  if (valid > 1) v.s1 = load_value(p, 1, type);
  if (valid > 2) v.s2 = load_value(p, 2, type);
  if (valid > 3) v.s3 = load_value(p, 3, type);
  return v;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moe_logits_few(
    READS(x), READS(rows), READS(bias), WRITES(logits), READS(token_count), const long x_pitch, const long row_pitch,
    const long logit_pitch, const int tokens, const int experts, const int hidden, const int x_type, const int row_type) {
  __local float sums[FEW][GROUP];
  const int item = (int)get_local_id(0);
  const int present = present_tokens(GIVEN(token_count) ? CONST_AT(int, token_count) : 0, 0, tokens);
  const int expert = (int)get_group_id(0) % experts;
  const int token = (int)get_group_id(0) / experts * FEW;
  const int there = min(present - token, FEW);
  const __global uchar *row = PLACE(rows) + expert * row_pitch * type_bytes(row_type);
  const __global uchar *first = PLACE(x) + token * x_pitch * type_bytes(x_type);
  float sum[FEW] = {0.0f, 0.0f, 0.0f, 0.0f};
  if (there > 0) {
    for (int k = item * 4; k < hidden; k += GROUP * 4) {
      float4 w = load_four(row, k, row_type, hidden - k);
      for (int i = 0; i < FEW; i++) {
        if (i < there) {
          float4 v = load_four(first + i * x_pitch * type_bytes(x_type), k, x_type, hidden - k);
          sum[i] = fma(w.s3, v.s3, fma(w.s2, v.s2, fma(w.s1, v.s1, fma(w.s0, v.s0, sum[i]))));
        }
      }
    }
  }
  for (int i = 0; i < FEW; i++) sums[i][item] = sum[i];
  for (int d = GROUP / 2; d > 0; d /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < d) {
      for (int i = 0; i < FEW; i++) sums[i][item] += sums[i][item + d];
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (item < there) {
    float v = sums[item][0];
    if (GIVEN(bias)) v += load_value(PLACE(bias), expert, row_type);
    AT(float, logits)[(token + item) * logit_pitch + expert] = v;
  }
}

// An order of floats as of unsigned numbers; 0 comes before all.
static inline uint ordered(float key) {
  key = key == key ? key + 0.0f : -INFINITY;  // minus zero equals zero
  uint bits = as_uint(key);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// exp(v - m), good to an ulp or two however large the difference.
static inline float exp_of_difference(float v, float m) {
  float d = v - m;
  float e = exp(d);
  float back = d - v;
  float lost = (v - (d - back)) + (-m - back);  // v - m - d, exactly
  return isfinite(d) ? fma(e, lost, e) : e;
}

// Adds to a sum of two floats.
static inline void add_exactly(float *high, float *low, float v) {
  float sum = *high + v;
  float part = sum - *high;
  *low += (*high - (sum - part)) + (v - part);
  *high = sum;
}

// The index of the best of n ordered keys, the lower one where they are equal. All work-items get it.
static int best_of(const __local uint *keys, int n, __local uint *best, __local int *at) {
  const int item = (int)get_local_id(0);
  uint most = 0;
  int index = item;
  for (int i = item; i < n; i += ROUTE_GROUP) {
    uint key = keys[i];
    if (key > most) {
      most = key;
      index = i;
    }
  }
  best[item] = most;
  at[item] = index;
  barrier(CLK_LOCAL_MEM_FENCE);
  most = best[0];
  index = at[0];
  for (int i = 1; i < ROUTE_GROUP; i++) {
    if (best[i] > most || (best[i] == most && at[i] < index)) {
      most = best[i];
      index = at[i];
    }
  }
  return index;
}

#define PUT(type, to, row, column, v)                                                            \
  do {                                                                                           \
    if (GIVEN(to)) AT(type, to)[(row) * to##_pitch + (column)] = (v);                            \
  } while (0)

// A group for each token. Tokens that are not there choose as well, but leave nothing behind.
__kernel __attribute__((reqd_work_group_size(ROUTE_GROUP, 1, 1))) void moe_route(
    READS(logits), READS(bias), READS(token_count), WRITES(ids), WRITES(weights), WRITES(ids_out),
    const long ids_out_pitch, WRITES(ids_saved), const long ids_saved_pitch, WRITES(weights_out),
    const long weights_out_pitch, WRITES(weights_saved), const long weights_saved_pitch, WRITES(logits_out),
    const long logits_out_pitch, WRITES(logits_saved), const long logits_saved_pitch, const long logit_pitch,
    const int tokens, const int experts, const int top_k, const int score, const int groups, const int topk_groups,
    const int groups_by_two_best, const int normalize, const float epsilon, const float factor) {
  __local float scores[MOST_EXPERTS];
  __local uint keys[MOST_EXPERTS];
  __local uint taken[MOST_EXPERTS];  // first the groups' keys, then the experts that were chosen
  __local uint best[ROUTE_GROUP];
  __local int at[ROUTE_GROUP];
  __local float highs[ROUTE_GROUP], lows[ROUTE_GROUP];
  const int item = (int)get_local_id(0);
  const int token = (int)get_group_id(0);
  const int there = token < present_tokens(GIVEN(token_count) ? CONST_AT(int, token_count) : 0, 0, tokens);
  const __global float *own = CONST_AT(float, logits) + token * logit_pitch;

  float most = -INFINITY;
  for (int e = item; e < experts; e += ROUTE_GROUP) {
    float l = there ? own[e] : 0.0f;
    if (there) {
      PUT(float, logits_out, token, e, l);
      PUT(float, logits_saved, token, e, l);
    }
    scores[e] = l;
    keys[e] = ordered(l);
    most = fmax(most, l);  // passes over NaN
  }
  highs[item] = most;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int i = 0; i < ROUTE_GROUP; i++) most = fmax(most, highs[i]);
  barrier(CLK_LOCAL_MEM_FENCE);
  float high = 0.0f, low = 0.0f;
  if (score == SCORE_SOFTMAX) {
    for (int e = item; e < experts; e += ROUTE_GROUP) {
      float p = exp_of_difference(scores[e], most);
      scores[e] = p;
      add_exactly(&high, &low, p);
    }
  }
  highs[item] = high;
  lows[item] = low;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (score == SCORE_SOFTMAX) {
    high = highs[0];
    low = lows[0];
    for (int i = 1; i < ROUTE_GROUP; i++) {
      add_exactly(&high, &low, highs[i]);
      low += lows[i];
    }
    const float all = high + low;
    const float rest = (high - all) + low;
    for (int e = item; e < experts; e += ROUTE_GROUP) {
      float p = scores[e];
      float q = p / all;
      float better = fma(fma(-q, all, p) - q * rest, 1.0f / all, q);
      scores[e] = isfinite(better) ? better : q;
    }
  } else if (score == SCORE_SIGMOID) {
    for (int e = item; e < experts; e += ROUTE_GROUP) scores[e] = sigmoid_of(scores[e]);
  }
  if (GIVEN(bias)) {
    for (int e = item; e < experts; e += ROUTE_GROUP) keys[e] = ordered(scores[e] + CONST_AT(float, bias)[e]);
  }
  barrier(CLK_LOCAL_MEM_FENCE);

  const int size = experts / groups;
  const int kept = groups > 1 ? topk_groups : 0;
  if (kept > 0) {
    for (int g = item; g < groups; g += ROUTE_GROUP) {
      float first = -INFINITY, second = -INFINITY;
      for (int e = g * size; e < (g + 1) * size; e++) {
        float key = GIVEN(bias)          ? scores[e] + CONST_AT(float, bias)[e]
                    : groups_by_two_best ? scores[e]
                    : there              ? own[e]
                                         : 0.0f;
        key = key == key ? key : -INFINITY;
        if (key > first) {
          second = first;
          first = key;
        } else if (key > second) {
          second = key;
        }
      }
      taken[g] = ordered(groups_by_two_best && size > 1 ? first + second : first);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int k = 0; k < kept; k++) {
    const int g = best_of(taken, groups, best, at);
    if (item == 0) taken[g] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (kept > 0) {
    for (int e = item; e < experts; e += ROUTE_GROUP) {
      if (taken[e / size] != 0) keys[e] = ordered(-INFINITY);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);

  float sum = 0.0f;
  float largest = -INFINITY;
  for (int k = 0; k < top_k; k++) {
    const int e = best_of(keys, experts, best, at);
    if (item == 0) {
      keys[e] = 0;
      taken[k] = (uint)e;
      if (there) {
        AT(int, ids)[(long)token * top_k + k] = e;
        PUT(int, ids_out, token, k, e);
        PUT(int, ids_saved, token, k, e);
      }
    }
    sum += scores[e];
    largest = fmax(largest, scores[e]);
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (normalize == NORMALIZE_SOFTMAX) {
    for (int k = item; k < top_k; k += ROUTE_GROUP) keys[k] = as_uint(exp_of_difference(scores[taken[k]], largest));
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  sum += epsilon;
  if (normalize == NORMALIZE_SOFTMAX) {
    high = 0.0f;
    low = 0.0f;
    for (int k = 0; k < top_k; k++) add_exactly(&high, &low, as_float(keys[k]));
    sum = high + low;
  }
  for (int k = item; there && k < top_k; k += ROUTE_GROUP) {
    float s = scores[taken[k]];
    float w = s;
    if (normalize == NORMALIZE_SOFTMAX) {
      w = divided(as_float(keys[k]), sum);
    } else if (normalize == NORMALIZE_SUM) {
      w = sum == 0.0f ? 0.0f : divided(s, sum);
    }
    w *= factor;
    AT(float, weights)[(long)token * top_k + k] = w;
    PUT(float, weights_out, token, k, w);
    PUT(float, weights_saved, token, k, w);
  }
}

// Saves a routing that was given. A work-item for each slot.
__kernel void moe_copy_routing(READS(ids), READS(weights), WRITES(ids_saved), WRITES(weights_saved),
                               READS(token_count), const long id_pitch, const long weight_pitch,
                               const long ids_saved_pitch, const long weights_saved_pitch, const int tokens,
                               const int top_k) {
  const long slot = (long)get_global_id(0);
  const long token = slot / top_k;
  const long k = slot - token * top_k;
  if (token >= present_tokens(GIVEN(token_count) ? CONST_AT(int, token_count) : 0, 0, tokens)) return;
  AT(int, ids_saved)[token * ids_saved_pitch + k] = CONST_AT(int, ids)[token * id_pitch + k];
  AT(float, weights_saved)[token * weights_saved_pitch + k] = CONST_AT(float, weights)[token * weight_pitch + k];
}
