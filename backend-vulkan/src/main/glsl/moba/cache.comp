#version 460
// Means of blocks, and append to the paged cache.
//
//   moba_means         the mean of every complete block of packed sequences
//   moba_append        stores rows of new keys and values in the cache
//   moba_append_means  the means of the blocks that these rows complete
//
// A mean is summed in the same order wherever its keys lie: GROUP / C rows at a time, C the chunks of 8 columns of a
// row rounded up to a power of two, then those sums in a tree. So means in the cache equal those of the packed form
// bit for bit, whatever the chunks that keys came in.
#include "batch.glsl"

#define GROUP 128
#define COLUMNS 8

layout(local_size_x = GROUP) in;

#ifdef KERNEL_moba_means
STORED_ARGUMENTS {
  READS(blocks);
  READS(k);
  int64_t k_token_pitch;
  int64_t k_head_pitch;
  WRITES(means);
  int64_t means_block_pitch;
  int64_t means_head_pitch;
  int block_size;
  int dim;
  int aligned;
};
#endif

#ifdef KERNEL_moba_append
STORED_ARGUMENTS {
  BATCH_ARGUMENTS;
  READS(new_k);
  int64_t new_k_token_pitch;
  int64_t new_k_head_pitch;
  READS(new_v);
  int64_t new_v_token_pitch;
  int64_t new_v_head_pitch;
  CHANGES(k);
  int64_t k_page_pitch;
  int64_t k_slot_pitch;
  int64_t k_head_pitch;
  CHANGES(v);
  int64_t v_page_pitch;
  int64_t v_slot_pitch;
  int64_t v_head_pitch;
  int kv_heads;
  int dim;
  int value_dim;
};
#endif

#ifdef KERNEL_moba_append_means
STORED_ARGUMENTS {
  BATCH_ARGUMENTS;
  READS(k);
  int64_t k_page_pitch;
  int64_t k_slot_pitch;
  int64_t k_head_pitch;
  WRITES(means);
  int64_t means_page_pitch;
  int64_t means_slot_pitch;
  int64_t means_head_pitch;
  int dim;
  int aligned;
};
#endif
TAKES_ARGUMENTS;

#ifndef KERNEL_moba_means
#include "sequences.glsl"
#endif

#ifndef KERNEL_moba_append
Eight load_columns(uint64_t base, int64_t row, int column, int width, bool aligned) {
  if (aligned && column + COLUMNS <= width) return load_eight(base, row + column);
  Eight v = Eight(vec4(0.0), vec4(0.0));
  [[unroll]] for (int c = 0; c < COLUMNS; c++) {
    if (column + c < width) {
      float x = LOAD(base, row + column + c);
      if (c < 4) {
        v.lo[c] = x;
      } else {
        v.hi[c - 4] = x;
      }
    }
  }
  return v;
}

// How rows of a block divide among work-items: columns 8 of chunk x, rows y, y + z, ...
ivec3 mean_share(int dim) {
  int chunks = 1;
  while (chunks * COLUMNS < dim && chunks < GROUP) chunks *= 2;
  int id = local_id();
  return ivec3(id % chunks, id / chunks, GROUP / chunks);
}

shared vec4 low_sums[GROUP];
shared vec4 high_sums[GROUP];

// Adds up the work-items' sums and writes the mean of `count` rows from `target` on.
void write_mean(Eight sum, ivec3 share, uint64_t means, int64_t target, int count, int dim) {
  int id = local_id();
  int chunks = GROUP / share.z;
  low_sums[id] = sum.lo;
  high_sums[id] = sum.hi;
  barrier();
  for (int half_rows = share.z / 2; half_rows > 0; half_rows /= 2) {
    if (share.y < half_rows) {
      low_sums[id] += low_sums[id + half_rows * chunks];
      high_sums[id] += high_sums[id + half_rows * chunks];
    }
    barrier();
  }
  if (share.y == 0) {
    Eight mean = Eight(low_sums[id] / float(count), high_sums[id] / float(count));
    [[unroll]] for (int c = 0; c < COLUMNS; c++) {
      int column = share.x * COLUMNS + c;
      if (column < dim) STORE(means, target + column, column_of(mean, c));
    }
  }
}
#endif

#ifdef KERNEL_moba_means
// Groups along x: block numbers; along y: key-value heads. Only complete blocks are ever scored.
void main() {
  int64_t number = group_id();
  int64_t head = gl_WorkGroupID.y;
  Block block = load_int4(a.blocks, number);
  if (block.y - block.x != a.block_size) return;
  ivec3 share = mean_share(a.dim);
  Eight sum = Eight(vec4(0.0), vec4(0.0));
  if (share.x * COLUMNS < a.dim) {
    for (int r = share.y; r < a.block_size; r += share.z) {
      Eight x = load_columns(a.k, (int64_t(block.x) + r) * a.k_token_pitch + head * a.k_head_pitch, share.x * COLUMNS,
                             a.dim, a.aligned != 0);
      sum.lo += x.lo;
      sum.hi += x.hi;
    }
  }
  write_mean(sum, share, a.means, number * a.means_block_pitch + head * a.means_head_pitch, a.block_size, a.dim);
}
#endif

#ifdef KERNEL_moba_append
// A work-item for each 16 elements of a new token's keys and values of one head.
void main() {
  int chunks = (max(a.dim, a.value_dim) + 15) / 16;
  int64_t i = global_id();
  if (i >= int64_t(a.tokens) * a.kv_heads * chunks) return;
  int column = int(i % chunks) * 16;
  int64_t head = i / chunks % a.kv_heads;
  int token = int(i / chunks / a.kv_heads);
  int index = sequence_of_token(token);
  if (index < 0) return;
  Sequence s = sequence_at(index);
  if (s.keys == 0) return;
  ivec2 place = key_at(index, token + s.shift);
  if (place.x < 0) return;
  int64_t from = token * a.new_k_token_pitch + head * a.new_k_head_pitch;
  int64_t to = place.x * a.k_page_pitch + place.y * a.k_slot_pitch + head * a.k_head_pitch;
  for (int c = column; c < min(column + 16, a.dim); c++) {
    store_bits(a.k, to + c, load_bits(a.new_k, from + c, TYPE), TYPE);
  }
  from = token * a.new_v_token_pitch + head * a.new_v_head_pitch;
  to = place.x * a.v_page_pitch + place.y * a.v_slot_pitch + head * a.v_head_pitch;
  for (int c = column; c < min(column + 16, a.value_dim); c++) {
    store_bits(a.v, to + c, load_bits(a.new_v, from + c, TYPE), TYPE);
  }
}
#endif

#ifdef KERNEL_moba_append_means
shared int is_whole;

// Groups along x: new tokens, most of which complete no block; along y: key-value heads.
void main() {
  int token = int(group_id());
  int64_t head = gl_WorkGroupID.y;
  int index = sequence_of_token(token);
  if (index < 0) return;
  Sequence s = sequence_at(index);
  int position = token + s.shift;
  if (s.keys == 0 || (position + 1) % a.block_size != 0) return;
  int page = page_of(index, position);
  if (page < 0) return;
  if (local_id() == 0) is_whole = 1;
  barrier();
  ivec3 share = mean_share(a.dim);
  Eight sum = Eight(vec4(0.0), vec4(0.0));
  for (int r = share.y; r < a.block_size; r += share.z) {
    ivec2 place = key_at(index, position + 1 - a.block_size + r);
    if (place.x < 0) {
      is_whole = 0;
    } else if (share.x * COLUMNS < a.dim) {
      Eight x = load_columns(a.k, place.x * a.k_page_pitch + place.y * a.k_slot_pitch + head * a.k_head_pitch,
                             share.x * COLUMNS, a.dim, a.aligned != 0);
      sum.lo += x.lo;
      sum.hi += x.hi;
    }
  }
  barrier();
  if (is_whole == 0) return;
  write_mean(sum, share, a.means,
             page * a.means_page_pitch + position % a.page_size / a.block_size * a.means_slot_pitch +
                 head * a.means_head_pitch,
             a.block_size, a.dim);
}
#endif
