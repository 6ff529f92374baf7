#version 460
// Who reads which block: tables of tokens and blocks (batch.glsl), and for each key-value head and block the list of
// the query rows that selected it. A stable counting sort by block, with no result that depends on scheduling.
//
//   moba_blocks         the tables; a work-item for each token and block number
//   moba_list_count     a group for each key-value head and tile of rows counts the blocks of its entries
//   moba_list_columns   per block, the counts become the entries of earlier tiles
//   moba_list_offsets   one group: where each list starts, and its tiles
//   moba_list_scatter   the groups of moba_list_count put their entries in place, in order
//   moba_list_tiles     the list of each tile
//
// Entries: row token * group + g is query head g of the group at a token, entry row * slots + slot is one of its
// selected blocks. A list holds entries in ascending order, so that sums over a list repeat bit for bit. They are 32
// bits wide: tokens * group * slots is below 2^32 for one key-value head.
#include "batch.glsl"

#define TABLE_GROUP 128
#define LIST_GROUP 64
#define SCAN_GROUP 256

// Counters beyond this stay in global memory.
#define LOCAL_COUNTERS 2048

#if defined(KERNEL_moba_blocks)
layout(local_size_x = TABLE_GROUP) in;
STORED_ARGUMENTS {
  BATCH_ARGUMENTS;
  WRITES(homes);
  WRITES(blocks);
  int block_count;
};
#elif defined(KERNEL_moba_list_count) || defined(KERNEL_moba_list_scatter)
#define SORTS
layout(local_size_x = LIST_GROUP) in;
// A selection, or none: then every past block is selected, block i in slot i.
STORED_ARGUMENTS {
  READS(selection);
  int64_t selection_token_pitch;
  int64_t selection_head_pitch;
  READS(homes);
  CHANGES(matrix);
  int64_t entries_per_head;
  int block_count;
  int first_head;
  int group;
  int slots;
  int tile_of_rows;
  int tiles;
  int tokens;
#ifdef KERNEL_moba_list_scatter
  READS(offsets);
  WRITES(entries);
#endif
};
#elif defined(KERNEL_moba_list_columns)
layout(local_size_x = LIST_GROUP) in;
PUSHED_ARGUMENTS {
  CHANGES(matrix);
  WRITES(counts);
  int heads;
  int block_count;
  int tiles;
};
#elif defined(KERNEL_moba_list_offsets)
layout(local_size_x = SCAN_GROUP) in;
PUSHED_ARGUMENTS {
  READS(counts);
  WRITES(offsets);
  WRITES(tiles_before);
  int64_t lists;
  int tile_rows;
};
#else
layout(local_size_x = LIST_GROUP) in;
PUSHED_ARGUMENTS {
  READS(tiles_before);
  WRITES(list_of_tile);
  int64_t lists;
};
#endif
TAKES_ARGUMENTS;

#ifdef KERNEL_moba_blocks
#include "sequences.glsl"

void main() {
  int64_t i = global_id();
  if (i < a.tokens) {
    int token = int(i);
    int index = sequence_of_token(token);
    Home home = Home(-1, 0);
    if (index >= 0) {
      Sequence s = sequence_at(index);
      if (s.keys > 0) {
        int first = first_block(index);
        home = Home(first + (token + s.shift - s.origin) / a.block_size, first);
      }
    }
    Words2(at(a.homes, i, 8)).v = uvec2(home);
  }
  if (i < a.block_count) {
    int number = int(i);
    int index = -1;
    if (IS_PAGED) {
      index = number / max(a.blocks_per_sequence, 1);
    } else {
      int high = a.sequences;
      while (high - index > 1) {
        int middle = index + (high - index) / 2;
        if (first_block(middle) <= number) {
          index = middle;
        } else {
          high = middle;
        }
      }
    }
    Block block = Block(0, 0, 0, -1);
    if (index >= 0 && index < a.sequences) {
      Sequence s = sequence_at(index);
      int first = first_block(index);
      int64_t from = s.origin + int64_t(number - first) * a.block_size;
      if (from < s.keys) {
        block = Block(int(from), int(min(from + a.block_size, int64_t(s.keys))), first, index);
      }
    }
    Words4(at(a.blocks, i, 16)).v = uvec4(block);
  }
}
#endif

// ---- lists -----------------------------------------------------------------------------------------------------

#ifdef SORTS
#include "lists.glsl"

// Counters of the group's own, which its work-items pass on to each other.
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Counter { uint v; };
#define COUNTER(p, i) Counter(at(p, i, 4)).v
#define GROUP_BARRIER  \
  memoryBarrierBuffer(); \
  barrier()

// The block of an entry, or -1.
int block_of_entry(int kv_head, uint entry) {
  uint row = entry / uint(a.slots);
  int slot = int(entry - row * uint(a.slots));
  uint token = row / uint(a.group);
  int head = kv_head * a.group + int(row - token * uint(a.group));
  return selected_block(a.selection, a.selection_token_pitch, a.selection_head_pitch, load_int2(a.homes, token), token,
                        head, slot);
}

// Entries [first, last) of a tile of rows.
uint64_t entries_before(int tile) {
  uint64_t rows = uint64_t(a.tokens) * uint64_t(a.group);
  return min(uint64_t(tile) * uint64_t(a.tile_of_rows), rows) * uint64_t(a.slots);
}
#endif

#ifdef KERNEL_moba_list_count
shared uint counters[LOCAL_COUNTERS];

void main() {
  int lane = local_id();
  int head = int(group_id() / uint(a.tiles)), tile = int(group_id() % uint(a.tiles));
  uint64_t first = entries_before(tile), last = entries_before(tile + 1);
  uint64_t stored = at(a.matrix, int64_t(group_id()) * a.block_count, 4);
  bool is_local = a.block_count <= LOCAL_COUNTERS;
  for (int b = lane; b < a.block_count; b += LIST_GROUP) {
    if (is_local) {
      counters[b] = 0u;
    } else {
      COUNTER(stored, b) = 0u;
    }
  }
  GROUP_BARRIER;
  for (uint64_t entry = first + uint64_t(lane); entry < last; entry += LIST_GROUP) {
    int b = block_of_entry(a.first_head + head, uint(entry));
    if (b >= 0) {
      if (is_local) {
        atomicAdd(counters[b], 1u);
      } else {
        atomicAdd(COUNTER(stored, b), 1u);
      }
    }
  }
  GROUP_BARRIER;
  if (is_local) {
    for (int b = lane; b < a.block_count; b += LIST_GROUP) COUNTER(stored, b) = counters[b];
  }
}
#endif

#ifdef KERNEL_moba_list_columns
// A work-item for each key-value head and block.
void main() {
  int64_t i = global_id();
  if (i >= int64_t(a.heads) * a.block_count) return;
  int64_t column = (i / a.block_count) * a.tiles * a.block_count + i % a.block_count;
  uint before = 0u;
  for (int tile = 0; tile < a.tiles; tile++) {
    uint count = load_uint(a.matrix, column);
    store_uint(a.matrix, column, before);
    before += count;
    column += a.block_count;
  }
  store_uint(a.counts, i, before);
}
#endif

#ifdef KERNEL_moba_list_offsets
shared uvec2 sums[SCAN_GROUP];

// One group. Offsets run over all heads modulo 2^32.
void main() {
  int lane = local_id();
  uint tile_rows = uint(a.tile_rows);
  int64_t each = (a.lists + SCAN_GROUP - 1) / SCAN_GROUP;
  int64_t from = min(lane * each, a.lists), to = min(from + each, a.lists);
  uvec2 sum = uvec2(0u);
  for (int64_t i = from; i < to; i++) {
    uint count = load_uint(a.counts, i);
    sum += uvec2(count, (count + tile_rows - 1u) / tile_rows);
  }
  sums[lane] = sum;
  for (int distance = 1; distance < SCAN_GROUP; distance *= 2) {
    barrier();
    uvec2 lower = uvec2(0u);
    if (lane >= distance) lower = sums[lane - distance];
    barrier();
    sums[lane] += lower;
  }
  uvec2 before = sums[lane] - sum;
  for (int64_t i = from; i < to; i++) {
    uint count = load_uint(a.counts, i);
    store_uint(a.offsets, i, before.x);
    store_uint(a.tiles_before, i, before.y);
    before += uvec2(count, (count + tile_rows - 1u) / tile_rows);
  }
  if (lane == SCAN_GROUP - 1) {
    store_uint(a.offsets, a.lists, sums[lane].x);
    store_uint(a.tiles_before, a.lists, sums[lane].y);
  }
}
#endif

#ifdef KERNEL_moba_list_scatter
shared int block_of[LIST_GROUP];

void main() {
  int lane = local_id();
  int head = int(group_id() / uint(a.tiles)), tile = int(group_id() % uint(a.tiles));
  uint64_t first = entries_before(tile), last = entries_before(tile + 1);
  uint64_t next = at(a.matrix, int64_t(group_id()) * a.block_count, 4);  // places within a list
  uint64_t offsets = at(a.offsets, int64_t(head) * a.block_count, 4);
  uint64_t list = at(a.entries, head * a.entries_per_head, 4);
  uint start = load_uint(offsets, 0);
  for (uint64_t from = first; from < last; from += LIST_GROUP) {
    int b = -1;
    uint entry = uint(from) + uint(lane);
    if (from + uint64_t(lane) < last) b = block_of_entry(a.first_head + head, entry);
    block_of[lane] = b;
    GROUP_BARRIER;
    // Those of one block take places in the order of entries.
    int before = 0, all = 0;
    uint place = 0u;
    if (b >= 0) {
      for (int i = 0; i < LIST_GROUP; i++) {
        int same = block_of[i] == b ? 1 : 0;
        all += same;
        before += i < lane ? same : 0;
      }
      place = COUNTER(next, b);
      store_uint(list, load_uint(offsets, b) - start + place + uint(before), entry);
    }
    GROUP_BARRIER;
    if (b >= 0 && before == all - 1) COUNTER(next, b) = place + uint(all);
  }
}
#endif

#ifdef KERNEL_moba_list_tiles
// A work-item for each tile that there may be.
void main() {
  int64_t tile = global_id();
  if (tile >= load_uint(a.tiles_before, a.lists)) return;
  int64_t low = 0, high = a.lists;  // before[low] <= tile < before[high]
  while (high - low > 1) {
    int64_t middle = (low + high) / 2;
    if (load_uint(a.tiles_before, middle) <= tile) {
      low = middle;
    } else {
      high = middle;
    }
  }
  store_uint(a.list_of_tile, tile, uint(low));
}
#endif
