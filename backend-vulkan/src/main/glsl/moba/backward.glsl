// The first members of the arguments of backward's kernels.
#ifndef WEFT_MOBA_BACKWARD
#define WEFT_MOBA_BACKWARD

#define BACKWARD_ARGUMENTS   \
  READS(q);                  \
  int64_t q_token_pitch;     \
  int64_t q_head_pitch;      \
  READS(k);                  \
  int64_t k_token_pitch;     \
  int64_t k_head_pitch;      \
  READS(v);                  \
  int64_t v_token_pitch;     \
  int64_t v_head_pitch;      \
  READS(dout);               \
  int64_t dout_token_pitch;  \
  int64_t dout_head_pitch;   \
  READS(stats);              \
  READS(blocks);             \
  int tokens;                \
  int query_heads;           \
  int group;                 \
  int slots;                 \
  int dim;                   \
  int value_dim;             \
  int first_head;            \
  float scale;               \
  float scale_log2;          \
  int aligned

#define LISTS_ARGUMENTS      \
  READS(offsets);            \
  READS(entries);            \
  int64_t entries_per_head;  \
  int block_count;           \
  int first_list

#define GRADIENT_ARGUMENTS   \
  CHANGES(dk);               \
  int64_t dk_token_pitch;    \
  int64_t dk_head_pitch;     \
  CHANGES(dv);               \
  int64_t dv_token_pitch;    \
  int64_t dv_head_pitch

#define PARTS_ARGUMENTS      \
  CHANGES(parts);            \
  int part_pitch

#endif
