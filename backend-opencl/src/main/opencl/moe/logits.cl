// moe_logits: logits[t, e] = x[t] . rows[e] + bias[e] for many tokens, by tiles of F32 products whatever the types.
#include "experts.clh"
#include "products.clh"

__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_logits(
    READS(x), READS(rows), READS(bias), WRITES(logits), READS(token_count), const long x_pitch, const long row_pitch,
    const long logit_pitch, const int tokens, const int experts, const int hidden, const int x_type, const int row_type) {
  SHARED_MEMORY;
  const int present = present_tokens(GIVEN(token_count) ? CONST_AT(int, token_count) : 0, 0, tokens);
  const int column_tiles = (experts + GROUP_N - 1) / GROUP_N;
  const int token = (int)get_group_id(0) / column_tiles * GROUP_M;
  const int expert = (int)get_group_id(0) % column_tiles * GROUP_N;
  if (token >= present) return;
  FIND_ROWS(a, GROUP_M, r, token + r < present ? PLACE(x) + (token + r) * x_pitch * type_bytes(x_type) : 0);
  FIND_ROWS(b, GROUP_N, r, expert + r < experts ? PLACE(rows) + (expert + r) * row_pitch * type_bytes(row_type) : 0);
  float acc[ACC];
  ZERO_TILE(acc);
#define STAGE(to, k)                                                                      \
  do {                                                                                    \
    STAGE_BY_K(to, a, GROUP_M, x_type, k, hidden);                                        \
    STAGE_BY_K((to) + OPERAND_ELEMENTS(GROUP_M), b, GROUP_N, row_type, k, hidden);        \
  } while (0)
  PRODUCT(hidden, STAGE, MULTIPLY_BY_K);
#undef STAGE
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    for (int i = (int)get_local_id(0); i < WM * GROUP_N; i += GROUP_SIZE) {
      const int t = token + part * WM + i / GROUP_N;
      const int e = expert + i % GROUP_N;
      if (t < present && e < experts) {
        float v = ((__local float *)shared)[i / GROUP_N * FINISHED_PITCH + i % GROUP_N];
        if (GIVEN(bias)) v += load_value(PLACE(bias), e, row_type);
        AT(float, logits)[t * logit_pitch + e] = v;
      }
    }
  }
}
