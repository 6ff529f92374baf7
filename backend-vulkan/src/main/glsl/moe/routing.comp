#version 460
// From logits to experts and their weights. All of it F32.
//
// moe_logits_few: logits[t, e] = x[t] . rows[e] + bias[e], a group for one expert and four tokens, straight from memory.
// Many tokens: moe_logits of logits.comp.
//
// moe_route: a group chooses a token's experts, one after another: each work-item looks for the best key among every
// 32nd expert, then all of them for the best of theirs. Keys are raw logits without a correction bias (a saturated score
// cannot reorder then), else score + bias. They compare as ordered integers: NaN like minus infinity, equal keys go to
// the lower expert, taken ones come last of all. Scores of softmax use the exact difference to the largest logit (its
// rounding error multiplies in), and their sum is of two floats: neither may move a key by more than a few ulps.
#include "experts.glsl"

#define GROUP 64 /* of moe_logits_few */
#define ROUTE_GROUP 32
#define COPY_GROUP 256
#define FEW 4             /* tokens of a group, as RoutingPass.java has it */
#define MOST_EXPERTS 1024 /* as MoeRecipe.java has it */

#ifdef KERNEL_moe_logits_few
layout(local_size_x = GROUP) in;

PUSHED_ARGUMENTS {
  READS(x);
  READS(rows);
  READS(bias);
  WRITES(logits);
  READS(token_count);
  int64_t x_pitch;
  int64_t row_pitch;
  int64_t logit_pitch;
  int tokens;
  int experts;
  int hidden;
  int x_type;
  int row_type;
};
TAKES_ARGUMENTS;

shared float sums[FEW][GROUP];

void main() {
  const int item = local_item();
  const int present = present_tokens(a.token_count, 0, a.tokens);
  const int expert = group_number() % a.experts;
  const int token = group_number() / a.experts * FEW;
  const int there = min(present - token, FEW);
  const uint64_t row = place(a.rows, expert * a.row_pitch, a.row_type);
  float sum[FEW];
  [[unroll]] for (int i = 0; i < FEW; i++) sum[i] = 0.0;
  if (there > 0) {
    for (int k = item * 4; k < a.hidden; k += GROUP * 4) {
      vec4 w = load_four(row, k, a.row_type, a.hidden - k);
      [[unroll]] for (int i = 0; i < FEW; i++) {
        if (i < there) {
          vec4 v = load_four(place(a.x, (token + i) * a.x_pitch, a.x_type), k, a.x_type, a.hidden - k);
          sum[i] = fma(w.w, v.w, fma(w.z, v.z, fma(w.y, v.y, fma(w.x, v.x, sum[i]))));
        }
      }
    }
  }
  [[unroll]] for (int i = 0; i < FEW; i++) sums[i][item] = sum[i];
  for (int d = GROUP / 2; d > 0; d /= 2) {
    barrier();
    if (item < d) {
      [[unroll]] for (int i = 0; i < FEW; i++) sums[i][item] += sums[i][item + d];
    }
  }
  barrier();
  if (item < there) {
    float v = sums[item][0];
    if (GIVEN(bias)) v += load_value(a.bias, expert, a.row_type);
    store_float(a.logits, (token + item) * a.logit_pitch + expert, v);
  }
}
#endif

#ifdef KERNEL_moe_route
layout(local_size_x = ROUTE_GROUP) in;

STORED_ARGUMENTS {
  READS(logits);
  READS(bias);
  READS(token_count);
  WRITES(ids);
  WRITES(weights);
  WRITES(ids_out);
  int64_t ids_out_pitch;
  WRITES(ids_saved);
  int64_t ids_saved_pitch;
  WRITES(weights_out);
  int64_t weights_out_pitch;
  WRITES(weights_saved);
  int64_t weights_saved_pitch;
  WRITES(logits_out);
  int64_t logits_out_pitch;
  WRITES(logits_saved);
  int64_t logits_saved_pitch;
  int64_t logit_pitch;
  int tokens;
  int experts;
  int top_k;
  int score;
  int groups;
  int topk_groups;
  int groups_by_two_best;
  int normalize;
  float epsilon;
  float factor;
};
TAKES_ARGUMENTS;

shared float scores[MOST_EXPERTS];
shared uint keys[MOST_EXPERTS];
shared uint taken[MOST_EXPERTS];  // first the groups' keys, then the experts that were chosen
shared uint best[ROUTE_GROUP];
shared int best_at[ROUTE_GROUP];
shared float highs[ROUTE_GROUP];
shared float lows[ROUTE_GROUP];

// An order of floats as of unsigned numbers; 0 comes before all.
uint ordered(float key) {
  uint bits = is_nan(key) ? 0xff800000u : floatBitsToUint(key);
  if (bits == 0x80000000u) bits = 0u;  // minus zero equals zero
  return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
}

// exp(v - m), good to an ulp or two however large the difference.
float exp_of_difference(float v, float m) {
  precise float d = v - m;
  precise float e = exp_of(d);
  precise float back = d - v;
  precise float lost = (v - (d - back)) + (-m - back);  // v - m - d, exactly
  precise float better = fma(e, lost, e);
  return is_finite(d) ? better : e;
}

// Adds to a sum of two floats.
void add_exactly(inout float high, inout float low, float v) {
  precise float sum = high + v;
  precise float part = sum - high;
  precise float lost = (high - (sum - part)) + (v - part);
  low += lost;
  high = sum;
}

// What has the larger key, of two of which the first has the lower index where they are equal.
#define CONSIDER(key, place_of_it)                                        \
  do {                                                                    \
    if ((key) > most || ((key) == most && (place_of_it) < index)) {       \
      most = (key);                                                       \
      index = (place_of_it);                                              \
    }                                                                     \
  } while (false)

// All work-items get the index of the best.
int best_of_all(uint most, int index) {
  const int item = local_item();
  best[item] = most;
  best_at[item] = index;
  barrier();
  most = best[0];
  index = best_at[0];
  for (int i = 1; i < ROUTE_GROUP; i++) CONSIDER(best[i], best_at[i]);
  return index;
}

#define PUT_INT(to, row, column, v) \
  do { if (GIVEN(to)) store_int(a.to, (row) * a.to##_pitch + (column), v); } while (false)
#define PUT_FLOAT(to, row, column, v) \
  do { if (GIVEN(to)) store_float(a.to, (row) * a.to##_pitch + (column), v); } while (false)

// A group for each token. Tokens that are not there choose as well, but leave nothing behind.
void main() {
  const int item = local_item();
  const int token = group_number();
  const int experts = a.experts, top_k = a.top_k, score = a.score, normalize = a.normalize;
  const bool there = token < present_tokens(a.token_count, 0, a.tokens);
  const uint64_t own = at(a.logits, token * a.logit_pitch, 4);

  float most = MINUS_INFINITY;
  for (int e = item; e < experts; e += ROUTE_GROUP) {
    float l = 0.0;
    if (there) {
      l = load_float(own, e);
      PUT_FLOAT(logits_out, token, e, l);
      PUT_FLOAT(logits_saved, token, e, l);
    }
    scores[e] = l;
    keys[e] = ordered(l);
    if (l > most) most = l;  // passes over NaN
  }
  highs[item] = most;
  barrier();
  for (int i = 0; i < ROUTE_GROUP; i++) {
    if (highs[i] > most) most = highs[i];
  }
  barrier();
  float high = 0.0, low = 0.0;
  if (score == SCORE_SOFTMAX) {
    for (int e = item; e < experts; e += ROUTE_GROUP) {
      float p = exp_of_difference(scores[e], most);
      scores[e] = p;
      add_exactly(high, low, p);
    }
  }
  highs[item] = high;
  lows[item] = low;
  barrier();
  if (score == SCORE_SOFTMAX) {
    high = highs[0];
    low = lows[0];
    for (int i = 1; i < ROUTE_GROUP; i++) {
      add_exactly(high, low, highs[i]);
      low += lows[i];
    }
    precise float all = high + low;
    precise float rest = (high - all) + low;
    for (int e = item; e < experts; e += ROUTE_GROUP) {
      float p = scores[e];
      precise float q = p / all;
      precise float better = fma(fma(-q, all, p) - q * rest, 1.0 / all, q);
      scores[e] = is_finite(better) ? better : q;
    }
  } else if (score == SCORE_SIGMOID) {
    for (int e = item; e < experts; e += ROUTE_GROUP) scores[e] = sigmoid_of(scores[e]);
  }
  if (GIVEN(bias)) {
    for (int e = item; e < experts; e += ROUTE_GROUP) keys[e] = ordered(scores[e] + load_float(a.bias, e));
  }
  barrier();

  const int size = experts / a.groups;
  const int kept = a.groups > 1 ? a.topk_groups : 0;
  if (kept > 0) {
    for (int g = item; g < a.groups; g += ROUTE_GROUP) {
      float first = MINUS_INFINITY, second = MINUS_INFINITY;
      for (int e = g * size; e < (g + 1) * size; e++) {
        float key = 0.0;
        if (GIVEN(bias)) {
          key = scores[e] + load_float(a.bias, e);
        } else if (a.groups_by_two_best != 0) {
          key = scores[e];
        } else if (there) {
          key = load_float(own, e);
        }
        if (is_nan(key)) key = MINUS_INFINITY;
        if (key > first) {
          second = first;
          first = key;
        } else if (key > second) {
          second = key;
        }
      }
      taken[g] = ordered(a.groups_by_two_best != 0 && size > 1 ? first + second : first);
    }
  }
  barrier();
  for (int k = 0; k < kept; k++) {
    uint most_key = 0u;
    int g = item;
    for (int i = item; i < a.groups; i += ROUTE_GROUP) {
      if (taken[i] > most_key) {
        most_key = taken[i];
        g = i;
      }
    }
    g = best_of_all(most_key, g);
    if (item == 0) taken[g] = 0u;
    barrier();
  }
  if (kept > 0) {
    for (int e = item; e < experts; e += ROUTE_GROUP) {
      if (taken[e / size] != 0u) keys[e] = ordered(MINUS_INFINITY);
    }
  }
  barrier();

  float sum = 0.0;
  float largest = MINUS_INFINITY;
  for (int k = 0; k < top_k; k++) {
    uint most_key = 0u;
    int e = item;
    for (int i = item; i < experts; i += ROUTE_GROUP) {
      uint key = keys[i];
      if (key > most_key) {
        most_key = key;
        e = i;
      }
    }
    e = best_of_all(most_key, e);
    if (item == 0) {
      keys[e] = 0u;
      taken[k] = uint(e);
      if (there) {
        store_int(a.ids, int64_t(token) * top_k + k, e);
        PUT_INT(ids_out, token, k, e);
        PUT_INT(ids_saved, token, k, e);
      }
    }
    sum += scores[e];
    if (scores[e] > largest) largest = scores[e];
    barrier();
  }
  if (normalize == NORMALIZE_SOFTMAX) {
    for (int k = item; k < top_k; k += ROUTE_GROUP) {
      keys[k] = floatBitsToUint(exp_of_difference(scores[taken[k]], largest));
    }
  }
  barrier();
  sum += a.epsilon;
  if (normalize == NORMALIZE_SOFTMAX) {
    high = 0.0;
    low = 0.0;
    for (int k = 0; k < top_k; k++) add_exactly(high, low, uintBitsToFloat(keys[k]));
    sum = high + low;
  }
  if (there) {
    for (int k = item; k < top_k; k += ROUTE_GROUP) {
      float s = scores[taken[k]];
      float w = s;
      if (normalize == NORMALIZE_SOFTMAX) {
        w = divided(uintBitsToFloat(keys[k]), sum);
      } else if (normalize == NORMALIZE_SUM) {
        w = 0.0;
        if (sum != 0.0) w = divided(s, sum);
      }
      w *= a.factor;
      store_float(a.weights, int64_t(token) * top_k + k, w);
      PUT_FLOAT(weights_out, token, k, w);
      PUT_FLOAT(weights_saved, token, k, w);
    }
  }
}
#endif

#ifdef KERNEL_moe_copy_routing
// Saves a routing that was given. A work-item for each slot.
layout(local_size_x = COPY_GROUP) in;

PUSHED_ARGUMENTS {
  READS(ids);
  READS(weights);
  WRITES(ids_saved);
  WRITES(weights_saved);
  READS(token_count);
  int64_t id_pitch;
  int64_t weight_pitch;
  int64_t ids_saved_pitch;
  int64_t weights_saved_pitch;
  int tokens;
  int top_k;
};
TAKES_ARGUMENTS;

void main() {
  const int64_t slot = global_id();
  const int64_t token = slot / a.top_k;
  const int64_t k = slot - token * a.top_k;
  if (token >= present_tokens(a.token_count, 0, a.tokens)) return;
  store_int(a.ids_saved, token * a.ids_saved_pitch + k, load_int(a.ids, token * a.id_pitch + k));
  store_float(a.weights_saved, token * a.weights_saved_pitch + k, load_float(a.weights, token * a.weight_pitch + k));
}
#endif
