#version 460
// moe_logits: logits[t, e] = x[t] . rows[e] + bias[e] for many tokens, by tiles of F32 products whatever the types.
#include "products.glsl"

STORED_ARGUMENTS {
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

void main() {
  const int present = present_tokens(a.token_count, 0, a.tokens);
  const int experts = a.experts, hidden = a.hidden, x_type = a.x_type, row_type = a.row_type;
  const int column_tiles = (experts + GROUP_N - 1) / GROUP_N;
  const int token = group_number() / column_tiles * GROUP_M;
  const int expert = group_number() % column_tiles * GROUP_N;
  if (token >= present) return;
  FIND_ROWS(x_rows, GROUP_M, r, token + r < present ? place(a.x, (token + r) * a.x_pitch, x_type) : 0ul);
  FIND_ROWS(w_rows, GROUP_N, r, expert + r < experts ? place(a.rows, (expert + r) * a.row_pitch, row_type) : 0ul);
  uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_BY_K(GROUP_N)];
  const bool x_aligned = false, w_aligned = false;  // they are of any type
  clear_sums();
#define FETCH(k)                                               \
  FETCH_BY_K(held_x, x_rows, GROUP_M, x_type, k, hidden, x_aligned)       \
  FETCH_BY_K(held_w, w_rows, GROUP_N, row_type, k, hidden, w_aligned)
#define PUT(to)                                                \
  PUT_BY_K(to, held_x, GROUP_M)                                \
  PUT_BY_K((to) + SECOND_OPERAND, held_w, GROUP_N)
  PRODUCT(hidden, FETCH, PUT, multiply_by_k);
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int t = token + part * WM + r;
      const vec4 v = four_at(r, c);
      [[unroll]] for (int i = 0; i < 4; i++) {
        const int e = expert + c + i;
        if (t < present && e < experts) {
          float logit = v[i];
          if (GIVEN(bias)) logit += load_value(a.bias, e, row_type);
          store_float(a.logits, t * a.logit_pitch + e, logit);
        }
      }
    }
  }
}
