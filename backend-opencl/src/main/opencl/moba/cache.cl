// Means of blocks, and append to the paged cache.
//
//   moba_means         the mean of every complete block of packed sequences
//   moba_append        stores rows of new keys and values in the cache
//   moba_append_means  the means of the blocks that these rows complete
//
// A mean is summed in the same order wherever its keys lie: GROUP / C rows at a time, C the chunks of 8 columns of a
// row rounded up to a power of two, then those sums in a tree. So means in the cache equal those of the packed form
// bit for bit, whatever the chunks that keys came in.
#include "batch.clh"

#define GROUP 128
#define COLUMNS 8

static inline float8 load_columns(const __global uchar *base, long row, int column, int width, int aligned) {
  if (aligned && column + COLUMNS <= width) return LOAD8(base, row + column);
  float x[COLUMNS];
#pragma unroll
  for (int c = 0; c < COLUMNS; c++) x[c] = column + c < width ? LOAD(base, row + column + c) : 0.0f;
  return (float8)(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]);
}

// How rows of a block divide among work-items: columns 8 of chunk x, rows y, y + z, ...
static inline int3 mean_share(int dim) {
  int chunks = 1;
  while (chunks * COLUMNS < dim && chunks < GROUP) chunks *= 2;
  int id = (int)get_local_id(0);
  return (int3)(id % chunks, id / chunks, GROUP / chunks);
}

// Adds up the work-items' sums and writes the mean of `count` rows from `target` on.
static inline void write_mean(__local float8 *sums, float8 sum, int3 share, __global uchar *means, long target,
                              int count, int dim) {
  int id = (int)get_local_id(0);
  int chunks = GROUP / share.z;
  sums[id] = sum;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_rows = share.z / 2; half_rows > 0; half_rows /= 2) {
    if (share.y < half_rows) sums[id] += sums[id + half_rows * chunks];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (share.y == 0) {
    float8 mean = sums[id] / (float)count;
    float x[COLUMNS] = {mean.s0, mean.s1, mean.s2, mean.s3, mean.s4, mean.s5, mean.s6, mean.s7};
    for (int c = 0; c < COLUMNS; c++) {
      int column = share.x * COLUMNS + c;
      if (column < dim) STORE(means, target + column, x[c]);
    }
  }
}

// Groups along x: block numbers; along y: key-value heads. Only complete blocks are ever scored.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_means(
    READS(blocks), READS(k), const long k_token_pitch, const long k_head_pitch, WRITES(means), const long means_block_pitch,
    const long means_head_pitch, const int block_size, const int dim, const int aligned) {
  __local float8 sums[GROUP];
  long number = get_group_id(0);
  long head = get_group_id(1);
  Block block = CONST_AT(Block, blocks)[number];
  if (block.y - block.x != block_size) return;
  int3 share = mean_share(dim);
  float8 sum = 0;
  if (share.x * COLUMNS < dim) {
#pragma unroll 4
    for (int r = share.y; r < block_size; r += share.z) {
      sum += load_columns(PLACE(k), (block.x + (long)r) * k_token_pitch + head * k_head_pitch, share.x * COLUMNS, dim,
                          aligned);
    }
  }
  write_mean(sums, sum, share, PLACE(means), number * means_block_pitch + head * means_head_pitch, block_size, dim);
  END_OF_GROUP;
}

#define CACHE_PARAMETERS                                                                                             \
  BATCH_PARAMETERS, READS(new_k), const long new_k_token_pitch, const long new_k_head_pitch, READS(new_v),           \
      const long new_v_token_pitch, const long new_v_head_pitch, CHANGES(k), const long k_page_pitch,                \
      const long k_slot_pitch, const long k_head_pitch, CHANGES(v), const long v_page_pitch, const long v_slot_pitch, \
      const long v_head_pitch, const int kv_heads, const int dim, const int value_dim

// A work-item for each 16 elements of a new token's keys and values of one head.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_append(CACHE_PARAMETERS) {
  BATCH_POINTERS;
  int chunks = (max(dim, value_dim) + 15) / 16;
  long i = get_global_id(0);
  if (i >= (long)tokens * kv_heads * chunks) return;
  int column = (int)(i % chunks) * 16;
  long head = i / chunks % kv_heads;
  int token = (int)(i / chunks / kv_heads);
  int index = sequence_of_token(cu_p, tokens, sequences, token);
  if (index < 0) return;
  Sequence s = sequence_at(BATCH, index);
  if (s.keys == 0) return;
  int2 place = key_at(BATCH, index, token + s.shift);
  if (place.x < 0) return;
  long from = token * new_k_token_pitch + head * new_k_head_pitch;
  long to = place.x * k_page_pitch + place.y * k_slot_pitch + head * k_head_pitch;
  for (int c = column; c < min(column + 16, dim); c++) {
    store_bits(PLACE(k), to + c, load_bits(PLACE(new_k), from + c, TYPE), TYPE);
  }
  from = token * new_v_token_pitch + head * new_v_head_pitch;
  to = place.x * v_page_pitch + place.y * v_slot_pitch + head * v_head_pitch;
  for (int c = column; c < min(column + 16, value_dim); c++) {
    store_bits(PLACE(v), to + c, load_bits(PLACE(new_v), from + c, TYPE), TYPE);
  }
}

// Groups along x: new tokens, most of which complete no block; along y: key-value heads.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_append_means(
    BATCH_PARAMETERS, READS(k), const long k_page_pitch, const long k_slot_pitch, const long k_head_pitch,
    WRITES(means), const long means_page_pitch, const long means_slot_pitch, const long means_head_pitch, const int dim,
    const int aligned) {
  __local float8 sums[GROUP];
  __local int is_whole;
  BATCH_POINTERS;
  int token = (int)get_group_id(0);
  long head = get_group_id(1);
  int index = sequence_of_token(cu_p, tokens, sequences, token);
  if (index < 0) return;
  Sequence s = sequence_at(BATCH, index);
  int position = token + s.shift;
  if (s.keys == 0 || (position + 1) % block_size != 0) return;
  int page = page_of(BATCH, index, position);
  if (page < 0) return;
  if (get_local_id(0) == 0) is_whole = 1;
  barrier(CLK_LOCAL_MEM_FENCE);
  int3 share = mean_share(dim);
  float8 sum = 0;
  for (int r = share.y; r < block_size; r += share.z) {
    int2 place = key_at(BATCH, index, position + 1 - block_size + r);
    if (place.x < 0) {
      is_whole = 0;
    } else if (share.x * COLUMNS < dim) {
      sum += load_columns(PLACE(k), place.x * k_page_pitch + place.y * k_slot_pitch + head * k_head_pitch,
                          share.x * COLUMNS, dim, aligned);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (!is_whole) return;
  write_mean(sums, sum, share, PLACE(means),
             page * means_page_pitch + position % page_size / block_size * means_slot_pitch + head * means_head_pitch,
             block_size, dim);
  END_OF_GROUP;
}
