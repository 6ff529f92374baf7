// What selection's kernels do with scores (select.comp). What includes this has load_rows(), which fills the group's tile of
// queries by query_at, score_means(), and access to scores and to the place where the best are joined.
uint64_t candidate(float score, int block) {
  uint bits = floatBitsToUint(score);
  if (is_nan(score)) bits = 0xff800000u;
  if (bits == 0x80000000u) bits = 0u;  // -0 becomes 0
  uint ordered = (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
  return uint64_t(ordered) << 32 | uint64_t(~uint(block));
}
float candidate_score(uint64_t x) {
  uint ordered = uint(x >> 32);
  return uintBitsToFloat((ordered & 0x80000000u) != 0u ? ordered & 0x7fffffffu : ~ordered);
}
int candidate_block(uint64_t x) { return int(~uint(x & 0xfffffffful)); }

bool is_mean_absent(Sequence s, int block) { return IS_PAGED && mean_at(s, block).x < 0; }

// Bit i of `count`, at most SEGMENT: the mean of block `first` + i is absent. All are looked up before any is needed.
uint absent_means(Sequence s, int first, int count) {
  uint absent = 0u;
  if (IS_PAGED) {
    [[unroll]] for (int i = 0; i < SEGMENT; i++) {
      if (i < count) absent |= mean_at(s, first + i).x < 0 ? 1u << i : 0u;
    }
  }
  return absent;
}

int past_blocks(QueryTile tile, int row) {
  Sequence s = tile.sequence;
  return s.keys > 0 ? (tile_token(tile, row) + s.shift - s.origin) / a.block_size : 0;
}

#ifdef KERNEL_moba_select_few
uint64_t best[FEW];

// Descending.
void insert(uint64_t x) {
  [[unroll]] for (int i = 0; i < FEW; i++) {
    uint64_t there = best[i];
    bool above = x > there;
    best[i] = above ? x : there;
    x = above ? there : x;
  }
}
#else
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Candidate { uint64_t v; };
#define HEAP(i) Candidate(at(heap, i, 8)).v

// Puts x on top of a heap whose keys grow downwards and restores the order. by_block: the key is the block.
uint64_t heap_key(uint64_t x, bool by_block) { return by_block ? uint64_t(uint(candidate_block(x))) : x; }
void heap_sink(uint64_t heap, int size, uint64_t x, bool by_block) {
  int where = 0;
  while (2 * where + 1 < size) {
    int child = 2 * where + 1;
    uint64_t below = HEAP(child);
    if (child + 1 < size) {
      uint64_t other = HEAP(child + 1);
      if (heap_key(other, by_block) < heap_key(below, by_block)) {
        child++;
        below = other;
      }
    }
    if (heap_key(x, by_block) <= heap_key(below, by_block)) break;
    HEAP(where) = below;
    where = child;
  }
  HEAP(where) = x;
}
void heap_rise(uint64_t heap, int where, uint64_t x, bool by_block) {
  while (where > 0) {
    uint64_t above = HEAP((where - 1) / 2);
    if (heap_key(above, by_block) <= heap_key(x, by_block)) break;
    HEAP(where) = above;
    where = (where - 1) / 2;
  }
  HEAP(where) = x;
}
#endif

// Groups along x: tiles of rows; along y: heads of the pass.
void main() {
  QueryTile tile = query_tile(group_id(), ROWS);
  if (tile.count == 0) return;
  int head = int(gl_WorkGroupID.y);
  int kv_head = a.first_head + head;
  int id = local_id();
  int row = id % ROWS, segment = id / ROWS;
  bool live = row < tile.count;
  int past = live ? past_blocks(tile, row) : 0;
  int most = past_blocks(tile, tile.count - 1);
  int64_t token = live ? tile_token(tile, row) : 0;
  int g = live ? tile_head(tile, row) : 0;
  int64_t query = int64_t(kv_head) * a.group + g;
  uint64_t chosen = at(a.selection, token * a.selection_token_pitch + query * a.selection_head_pitch, 4);
  if (most <= a.slots) {  // all past blocks of all rows are selected
    if (live) {
      for (int i = segment; i < a.columns; i += SEGMENTS) store_int(chosen, i, i < past ? i : -1);
    }
    return;
  }
  if (segment == 0) query_at[row] = live ? token * a.q_token_pitch + query * a.q_head_pitch : -1;
  barrier();
  load_rows(id);

#ifdef KERNEL_moba_select_few
  [[unroll]] for (int i = 0; i < FEW; i++) best[i] = 0ul;
  float least = 0.0;  // scores up to it are not among the best; ties go to lower blocks, which came before
  bool full = false;
  for (int from = 0; from < most; from += KEYS) {
    int first = segment * SEGMENT;
    int columns_here = clamp(past - from - first, 0, SEGMENT);
    uint absent = absent_means(tile.sequence, from + first, columns_here);
    score_means(tile.sequence, kv_head, from, most, id);
    // First the columns that may be among the best, then those into the best: work-items of a wave insert together.
    uint candidates = 0u;
    // Unrolled, as are others here: llvmpipe of Mesa 22.3 leaves all loops of a kernel after 65,535 turns in all.
    [[unroll]] for (int n = 0; n < SEGMENT; n++) {
      int i = first + n;
      if (n < columns_here) {
        if ((absent >> n & 1u) != 0u) PUT_SCORE(row, i, MINUS_INFINITY);
        if (!full || !(SCORE_AT(row, i) <= least)) candidates |= 1u << n;
      }
    }
    while (candidates != 0u) {
      int i = first + findLSB(candidates);
      candidates &= candidates - 1u;
      uint64_t x = candidate(SCORE_AT(row, i), from + i);
      if (x > best[FEW - 1]) insert(x);
    }
    full = best[FEW - 1] != 0ul;
    if (full) least = candidate_score(best[FEW - 1]);
  }
  barrier();  // the best may take the place of scores
  [[unroll]] for (int i = 0; i < FEW; i++) {
    PUT_BEST(2 * (i * GROUP + id), uint(best[i] & 0xfffffffful));
    PUT_BEST(2 * (i * GROUP + id) + 1, uint(best[i] >> 32));
  }
  barrier();
  if (segment == 0 && live) {
    for (int other = 1; other < SEGMENTS; other++) {
      for (int i = 0; i < FEW; i++) {
        int where = 2 * (i * GROUP + other * ROWS + row);
        insert(uint64_t(BEST_AT(where)) | uint64_t(BEST_AT(where + 1)) << 32);
      }
    }
    // Ascending: a block's place is the number of lower ones. Loops in loops may be left rolled, and an index that is no
    // constant moves an array from registers to memory: so it is not the array of the best.
    int count = min(past, a.slots);
    int blocks[FEW];
    [[unroll]] for (int i = 0; i < FEW; i++) blocks[i] = candidate_block(best[i]);
    for (int i = 0; i < count; i++) {
      int place = 0;
      for (int j = 0; j < count; j++) place += blocks[j] < blocks[i] ? 1 : 0;
      store_int(chosen, place, blocks[i]);
    }
    for (int i = count; i < a.columns; i++) store_int(chosen, i, -1);
  }
#else
  uint64_t heap = at(a.heaps, ((int64_t(head) * a.tokens + token) * a.group + g) * a.slots, 8);
  for (int from = 0; from < most; from += KEYS) {
    score_means(tile.sequence, kv_head, from, most, id);
    if (segment == 0) {
      for (int i = 0; i < KEYS && from + i < past; i++) {
        float found = SCORE_AT(row, i);
        if (is_mean_absent(tile.sequence, from + i)) found = MINUS_INFINITY;
        uint64_t x = candidate(found, from + i);
        if (from + i < a.slots) {
          heap_rise(heap, from + i, x, false);
        } else if (x > HEAP(0)) {
          heap_sink(heap, a.slots, x, false);
        }
      }
    }
  }
  if (segment == 0 && live) {
    int size = min(past, a.slots);
    // A heap by block, from which blocks leave in ascending order.
    for (int i = 1; i < size; i++) heap_rise(heap, i, HEAP(i), true);
    for (int i = size; i < a.columns; i++) store_int(chosen, i, -1);
    for (int i = 0; i < size; i++) {
      int left = size - 1 - i;
      store_int(chosen, i, candidate_block(HEAP(0)));
      if (left > 0) heap_sink(heap, left, HEAP(left), true);
    }
  }
#endif
}
