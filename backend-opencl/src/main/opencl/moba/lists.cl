// Who reads which block: tables of tokens and blocks (batch.clh), and for each key-value head and block the list of
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
#include "batch.clh"
#include "lists.clh"

#define TABLE_GROUP 128
#define LIST_GROUP 64
#define SCAN_GROUP 256

// Counters beyond this stay in global memory.
#define LOCAL_COUNTERS 2048

__kernel __attribute__((reqd_work_group_size(TABLE_GROUP, 1, 1))) void moba_blocks(
    BATCH_PARAMETERS, WRITES(homes), WRITES(blocks), const int block_count) {
  BATCH_POINTERS;
  long i = get_global_id(0);
  if (i < tokens) {
    int token = (int)i;
    int index = sequence_of_token(cu_p, tokens, sequences, token);
    Home home = (Home)(-1, 0);
    if (index >= 0) {
      Sequence s = sequence_at(BATCH, index);
      if (s.keys > 0) {
        int first = first_block(BATCH, index);
        home = (Home)(first + (token + s.shift - s.origin) / block_size, first);
      }
    }
    AT(Home, homes)[i] = home;
  }
  if (i < block_count) {
    int number = (int)i;
    int index = -1;
    if (paged) {
      index = number / max(blocks_per_sequence, 1);
    } else {
      int high = sequences;
      while (high - index > 1) {
        int middle = index + (high - index) / 2;
        if (first_block(BATCH, middle) <= number) {
          index = middle;
        } else {
          high = middle;
        }
      }
    }
    Block block = (Block)(0, 0, 0, -1);
    if (index >= 0 && index < sequences) {
      Sequence s = sequence_at(BATCH, index);
      int first = first_block(BATCH, index);
      long from = s.origin + (long)(number - first) * block_size;
      if (from < s.keys) {
        block = (Block)((int)from, (int)min(from + block_size, (long)s.keys), first, index);
      }
    }
    AT(Block, blocks)[i] = block;
  }
}

// ---- lists -----------------------------------------------------------------------------------------------------

// A selection, or none: then every past block is selected, block i in slot i.
#define LIST_PARAMETERS                                                                                        \
  READS(selection), const long selection_token_pitch, const long selection_head_pitch, READS(homes),           \
      CHANGES(matrix), const long entries_per_head, const int block_count, const int first_head,               \
      const int group, const int slots, const int tile_of_rows, const int tiles, const int tokens

// The block of an entry, or -1.
static inline int block_of_entry(const __global int *chosen, long token_pitch, long head_pitch,
                                 const __global Home *home_of, int group, int slots, int kv_head, uint entry) {
  uint row = entry / (uint)slots;
  int slot = (int)(entry - row * (uint)slots);
  uint token = row / (uint)group;
  int head = kv_head * group + (int)(row - token * (uint)group);
  return selected_block(chosen, token_pitch, head_pitch, home_of[token], token, head, slot);
}

// Entries [first, last) of a tile of rows.
static inline ulong entries_before(int tile, int tile_of_rows, int tokens, int group, int slots) {
  return min((ulong)tile * (ulong)tile_of_rows, (ulong)tokens * (ulong)group) * (ulong)slots;
}

__kernel __attribute__((reqd_work_group_size(LIST_GROUP, 1, 1))) void moba_list_count(LIST_PARAMETERS) {
  __local int counters[LOCAL_COUNTERS];
  const __global int *chosen = GIVEN(selection) ? CONST_AT(int, selection) : 0;
  const __global Home *home_of = CONST_AT(Home, homes);
  int lane = (int)get_local_id(0);
  int head = (int)(get_group_id(0) / tiles);
  int tile = (int)(get_group_id(0) % tiles);
  ulong first = entries_before(tile, tile_of_rows, tokens, group, slots);
  ulong last = entries_before(tile + 1, tile_of_rows, tokens, group, slots);
  __global int *stored = AT(int, matrix) + (long)get_group_id(0) * block_count;
  bool is_local = block_count <= LOCAL_COUNTERS;
  for (int b = lane; b < block_count; b += LIST_GROUP) {
    if (is_local) {
      counters[b] = 0;
    } else {
      stored[b] = 0;
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
  for (ulong entry = first + lane; entry < last; entry += LIST_GROUP) {
    int b = block_of_entry(chosen, selection_token_pitch, selection_head_pitch, home_of, group, slots,
                           first_head + head, (uint)entry);
    if (b >= 0) {
      if (is_local) {
        atomic_inc(counters + b);
      } else {
        atomic_inc(stored + b);
      }
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
  if (is_local) {
    for (int b = lane; b < block_count; b += LIST_GROUP) stored[b] = counters[b];
  }
  END_OF_GROUP;
}

// A work-item for each key-value head and block.
__kernel __attribute__((reqd_work_group_size(LIST_GROUP, 1, 1))) void moba_list_columns(
    CHANGES(matrix), WRITES(counts), const int heads, const int block_count, const int tiles) {
  long i = get_global_id(0);
  if (i >= (long)heads * block_count) return;
  __global uint *column = AT(uint, matrix) + (i / block_count) * tiles * block_count + i % block_count;
  uint before = 0;
  for (int tile = 0; tile < tiles; tile++) {
    __global uint *at = column + (long)tile * block_count;
    uint count = *at;
    *at = before;
    before += count;
  }
  AT(uint, counts)[i] = before;
}

// One group. Offsets run over all heads modulo 2^32.
__kernel __attribute__((reqd_work_group_size(SCAN_GROUP, 1, 1))) void moba_list_offsets(
    READS(counts), WRITES(offsets), WRITES(tiles_before), const long lists, const int tile_rows) {
  __local uint2 sums[SCAN_GROUP];
  const __global uint *count_of = CONST_AT(uint, counts);
  __global uint *offset_of = AT(uint, offsets);
  __global uint *tile_of = AT(uint, tiles_before);
  int lane = (int)get_local_id(0);
  long each = (lists + SCAN_GROUP - 1) / SCAN_GROUP;
  long from = min(lane * each, lists);
  long to = min(from + each, lists);
  uint2 sum = (uint2)(0, 0);
  for (long i = from; i < to; i++) {
    uint count = count_of[i];
    sum += (uint2)(count, (count + tile_rows - 1) / tile_rows);
  }
  sums[lane] = sum;
  for (int distance = 1; distance < SCAN_GROUP; distance *= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    uint2 lower = lane >= distance ? sums[lane - distance] : (uint2)(0, 0);
    barrier(CLK_LOCAL_MEM_FENCE);
    sums[lane] += lower;
  }
  uint2 before = sums[lane] - sum;
  for (long i = from; i < to; i++) {
    uint count = count_of[i];
    offset_of[i] = before.x;
    tile_of[i] = before.y;
    before += (uint2)(count, (count + tile_rows - 1) / tile_rows);
  }
  if (lane == SCAN_GROUP - 1) {
    offset_of[lists] = sums[lane].x;
    tile_of[lists] = sums[lane].y;
  }
  END_OF_GROUP;
}

__kernel __attribute__((reqd_work_group_size(LIST_GROUP, 1, 1))) void moba_list_scatter(LIST_PARAMETERS, READS(offsets),
                                                                                        WRITES(entries)) {
  __local int block_of[LIST_GROUP];
  const __global int *chosen = GIVEN(selection) ? CONST_AT(int, selection) : 0;
  const __global Home *home_of = CONST_AT(Home, homes);
  int lane = (int)get_local_id(0);
  int head = (int)(get_group_id(0) / tiles);
  int tile = (int)(get_group_id(0) % tiles);
  ulong first = entries_before(tile, tile_of_rows, tokens, group, slots);
  ulong last = entries_before(tile + 1, tile_of_rows, tokens, group, slots);
  __global uint *next = AT(uint, matrix) + (long)get_group_id(0) * block_count;  // places within a list
  const __global uint *offset_of = CONST_AT(uint, offsets) + (long)head * block_count;
  __global uint *list = AT(uint, entries) + head * entries_per_head;
  uint start = offset_of[0];
  for (ulong from = first; from < last; from += LIST_GROUP) {
    int b = -1;
    if (from + lane < last) {
      b = block_of_entry(chosen, selection_token_pitch, selection_head_pitch, home_of, group, slots,
                         first_head + head, (uint)(from + lane));
    }
    block_of[lane] = b;
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    // Those of one block take places in the order of entries.
    int before = 0;
    int all = 0;
    uint place = 0;
    if (b >= 0) {
      for (int i = 0; i < LIST_GROUP; i++) {
        int same = block_of[i] == b;
        all += same;
        before += i < lane ? same : 0;
      }
      place = next[b];
      list[offset_of[b] - start + place + before] = (uint)(from + lane);
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    if (b >= 0 && before == all - 1) next[b] = place + all;
  }
  END_OF_GROUP;
}

// A work-item for each tile that there may be.
__kernel __attribute__((reqd_work_group_size(LIST_GROUP, 1, 1))) void moba_list_tiles(
    READS(tiles_before), WRITES(list_of_tile), const long lists) {
  const __global uint *before = CONST_AT(uint, tiles_before);
  long tile = get_global_id(0);
  if (tile >= before[lists]) return;
  long low = 0;
  long high = lists;  // before[low] <= tile < before[high]
  while (high - low > 1) {
    long middle = (low + high) / 2;
    if (before[middle] <= tile) {
      low = middle;
    } else {
      high = middle;
    }
  }
  AT(uint, list_of_tile)[tile] = (uint)low;
}
