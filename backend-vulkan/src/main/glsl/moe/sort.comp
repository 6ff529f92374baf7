#version 460
// Sorts slots (token * topK + k) by expert, stably: where each goes follows from counts alone, so it never depends on
// who runs first. Writes what is asked for of: the permutation (local slots by expert, then ascending), its inverse,
// the counts of all experts, where each local expert's rows start, and the tile lists (experts.glsl): entry 0 is
// {number of tiles, 0, 0, 0}, tile j is entry j + 1 = {expert, its first row, their end, number of its first tile}.
//
//   moe_sort_few      a group's worth of slots: each counts those that go before it; leaves no offsets
//   moe_sort_all      few slots: one group does it all
//   moe_sort_count    else: the slots of each expert in each block of BLOCK_SLOTS
//   moe_sort_scan     sums and scans them, in one group
//   moe_sort_place    places the slots of each block
//
// Slots are placed 256 at a time, in order: a work-item counts those to its left that have its expert.
#include "experts.glsl"

#define GROUP 256
#define BLOCK_SLOTS 1024  /* as SlotSort.java has it */
#define MOST_EXPERTS 1024 /* as MoeRecipe.java has it */
#define EXPERTS_OF_ITEM (MOST_EXPERTS / GROUP)

layout(local_size_x = GROUP) in;

STORED_ARGUMENTS {
  READS(ids);
  READS(token_count);
  CHANGES(permutation);
  WRITES(inverse);
  WRITES(counts);
  CHANGES(offsets);
  WRITES(project_tiles);
  WRITES(down_tiles);
  CHANGES(block_counts);
  int64_t id_pitch;
  int first_token;
  int tokens;
  int top_k;
  int slots;
  int experts;
  int first_expert;
  int local_experts;
  int project_rows;
  int down_rows;
  int fills_tail;
  int blocks;
};
TAKES_ARGUMENTS;

int present;  // set by main

// The expert of a slot, or -1.
int expert_of(int slot) {
  if (slot >= a.slots) return -1;
  int token = slot / a.top_k;
  if (token >= present) return -1;
  int id = load_int(a.ids, token * a.id_pitch + (slot - token * a.top_k));
  return id >= 0 && id < a.experts ? id : -1;
}

bool is_local(int id) { return id >= a.first_expert && id < a.first_expert + a.local_experts; }

#if defined(KERNEL_moe_sort_all) || defined(KERNEL_moe_sort_count) || defined(KERNEL_moe_sort_scan)
shared int counters[MOST_EXPERTS];
#endif
#if defined(KERNEL_moe_sort_all) || defined(KERNEL_moe_sort_few) || defined(KERNEL_moe_sort_place)
shared int chosen[GROUP];
#endif

#if defined(KERNEL_moe_sort_all) || defined(KERNEL_moe_sort_scan)
#define START 0                  /* of starts in the tables: one for each expert, and the end */
#define TILE (MOST_EXPERTS + 1)  /* of numbers of first tiles */
shared int tables[2 * MOST_EXPERTS + 1];
shared int sums[GROUP];

// Replaces MOST_EXPERTS values by the sums of those before each, and returns the sum of all.
int scan(int table) {
  const int item = local_item();
  int own = 0;
  barrier();
  for (int i = 0; i < EXPERTS_OF_ITEM; i++) own += tables[table + item * EXPERTS_OF_ITEM + i];
  sums[item] = own;
  barrier();
  for (int d = 1; d < GROUP; d *= 2) {
    int left = 0;
    if (item >= d) left = sums[item - d];
    barrier();
    sums[item] += left;
    barrier();
  }
  int before = sums[item] - own;
  for (int i = 0; i < EXPERTS_OF_ITEM; i++) {
    int value = tables[table + item * EXPERTS_OF_ITEM + i];
    tables[table + item * EXPERTS_OF_ITEM + i] = before;
    before += value;
  }
  barrier();
  return sums[GROUP - 1];
}

// From the starts.
void list_tiles(uint64_t list, int rows) {
  const int item = local_item();
  for (int e = item; e < MOST_EXPERTS; e += GROUP) {
    int tiles = 0;
    if (e < a.local_experts) tiles = (tables[START + e + 1] - tables[START + e] + rows - 1) / rows;
    tables[TILE + e] = tiles;
  }
  const int total = scan(TILE);
  if (item == 0) store_int4(list, 0, ivec4(total, 0, 0, 0));
  for (int j = item; j < total; j += GROUP) {
    int low = 0, high = a.local_experts;  // the last expert whose first tile is at most j; ones without tiles precede it
    while (high - low > 1) {
      int middle = (low + high) / 2;
      if (tables[TILE + middle] <= j) {
        low = middle;
      } else {
        high = middle;
      }
    }
    store_int4(list, j + 1, ivec4(low, tables[START + low], tables[START + low + 1], tables[TILE + low]));
  }
  barrier();
}

// From counters[e], the slots of every expert: counts, starts, offsets, tile lists and the permutation's tail.
void finish_scan() {
  const int item = local_item();
  if (GIVEN(counts)) {
    for (int e = item; e < a.experts; e += GROUP) store_int(a.counts, e, counters[e]);
  }
  for (int e = item; e < MOST_EXPERTS; e += GROUP) {
    int count = 0;
    if (e < a.local_experts) count = counters[a.first_expert + e];
    tables[START + e] = count;
  }
  const int total = scan(START);
  if (item == 0) tables[START + a.local_experts] = total;
  barrier();
  if (GIVEN(offsets)) {
    for (int e = item; e <= a.local_experts; e += GROUP) store_int(a.offsets, e, tables[START + e]);
  }
  if (GIVEN(project_tiles)) list_tiles(a.project_tiles, a.project_rows);
  if (GIVEN(down_tiles)) list_tiles(a.down_tiles, a.down_rows);
  if (a.fills_tail != 0 && GIVEN(permutation)) {
    for (int p = total + item; p < a.slots; p += GROUP) store_int(a.permutation, p, -1);
  }
}
#endif

#ifdef KERNEL_moe_sort_all
#define next counters
#endif
#ifdef KERNEL_moe_sort_place
shared int next[MOST_EXPERTS];
#endif

#if defined(KERNEL_moe_sort_all) || defined(KERNEL_moe_sort_place)
// Places 256 slots from `first` on; next[e] is where the next slot of expert e goes, and is moved on.
void place_slots(int first) {
  const int item = local_item();
  const int slot = first + item;
  const int e = expert_of(slot);
  barrier();
  chosen[item] = e;
  barrier();
  if (slot < a.slots) {
    int row = -1;
    if (is_local(e)) {
      row = next[e];
      for (int i = 0; i < item; i++) row += chosen[i] == e ? 1 : 0;
      if (GIVEN(permutation)) store_int(a.permutation, row, slot);
    }
    if (GIVEN(inverse)) store_int(a.inverse, slot, row);
  }
  barrier();
  if (e >= 0) atomicAdd(next[e], 1);
}
#endif

#ifdef KERNEL_moe_sort_few
#define NOT_LOCAL MOST_EXPERTS
shared ivec4 keys[GROUP / 4];  // expert * GROUP + slot
shared int sorted[GROUP];      // the slots' experts
shared int sums[GROUP];

// The first row from `low` on, or `high`, whose expert is `expert` or a higher one.
int first_row_of(int expert, int low, int high) {
  while (low < high) {
    const int middle = (low + high) / 2;
    if (sorted[middle] < expert) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The tile list. A work-item has the row of its own number, one of an expert's rows first .. end.
void list_few_tiles(uint64_t list, int rows, int first, int end) {
  const int item = local_item();
  const bool begins = sorted[item] != NOT_LOCAL && (item - first) % rows == 0;
  sums[item] = begins ? 1 : 0;
  barrier();
  for (int d = 1; d < a.slots; d *= 2) {
    int left = 0;
    if (item >= d) left = sums[item - d];
    barrier();
    sums[item] += left;
    barrier();
  }
  if (item == 0) store_int4(list, 0, ivec4(sums[a.slots - 1], 0, 0, 0));
  if (begins) store_int4(list, sums[item], ivec4(sorted[item], first, end, sums[first] - 1));
  barrier();
}

void main() {
  const int item = local_item(), slots = a.slots;
  present = present_tokens(a.token_count, a.first_token, a.tokens);
  const int id = expert_of(item);
  const bool here = is_local(id);
  const int expert = here ? id - a.first_expert : NOT_LOCAL;
  const int key = expert * GROUP + item;
  keys[item / 4][item % 4] = key;
  chosen[item] = id;
  sorted[item] = NOT_LOCAL;
  barrier();
  ivec4 before = ivec4(0);
  for (int i = 0; 4 * i < slots; i++) before += ivec4(lessThan(keys[i], ivec4(key)));
  const int row = before.x + before.y + before.z + before.w;
  if (here) {
    sorted[row] = expert;
    if (GIVEN(permutation)) store_int(a.permutation, row, item);
  }
  if (GIVEN(inverse) && item < slots) store_int(a.inverse, item, here ? row : -1);
  barrier();
  if (a.fills_tail != 0 && GIVEN(permutation) && item < slots && sorted[item] == NOT_LOCAL) {
    store_int(a.permutation, item, -1);
  }
  if (GIVEN(project_tiles) || GIVEN(down_tiles)) {
    const int first = first_row_of(sorted[item], 0, item), end = first_row_of(sorted[item] + 1, item + 1, slots);
    if (GIVEN(project_tiles)) list_few_tiles(a.project_tiles, a.project_rows, first, end);
    if (GIVEN(down_tiles)) list_few_tiles(a.down_tiles, a.down_rows, first, end);
  }
  if (GIVEN(counts)) {
    for (int e = item; e < a.experts; e += GROUP) {
      int count = 0;
      for (int i = 0; i < slots; i++) count += chosen[i] == e ? 1 : 0;
      store_int(a.counts, e, count);
    }
  }
}
#endif

#ifdef KERNEL_moe_sort_all
void main() {
  const int item = local_item();
  present = present_tokens(a.token_count, a.first_token, a.tokens);
  for (int e = item; e < MOST_EXPERTS; e += GROUP) counters[e] = 0;
  barrier();
  for (int slot = item; slot < a.slots; slot += GROUP) {
    int e = expert_of(slot);
    if (e >= 0) atomicAdd(counters[e], 1);  // whole numbers: any order
  }
  barrier();
  finish_scan();
  barrier();
  for (int e = item; e < a.local_experts; e += GROUP) next[a.first_expert + e] = tables[START + e];
  if (GIVEN(permutation) || GIVEN(inverse)) {
    for (int first = 0; first < a.slots; first += GROUP) place_slots(first);
  }
}
#endif

#ifdef KERNEL_moe_sort_count
// A group for each block.
void main() {
  const int item = local_item();
  present = present_tokens(a.token_count, a.first_token, a.tokens);
  for (int e = item; e < a.experts; e += GROUP) counters[e] = 0;
  barrier();
  for (int i = 0; i < BLOCK_SLOTS; i += GROUP) {
    int e = expert_of(group_number() * BLOCK_SLOTS + i + item);
    if (e >= 0) atomicAdd(counters[e], 1);
  }
  barrier();
  for (int e = item; e < a.experts; e += GROUP) {
    store_int(a.block_counts, int64_t(group_number()) * a.experts + e, counters[e]);
  }
}
#endif

#ifdef KERNEL_moe_sort_scan
// One group. Leaves in block_counts where a block's slots of an expert start within the expert's.
void main() {
  const int item = local_item();
  for (int e = item; e < a.experts; e += GROUP) {
    int count = 0;
    for (int b = 0; b < a.blocks; b++) {
      const int64_t place_of_it = int64_t(b) * a.experts + e;
      int c = load_int(a.block_counts, place_of_it);
      store_int(a.block_counts, place_of_it, count);
      count += c;
    }
    counters[e] = count;
  }
  barrier();
  finish_scan();
}
#endif

#ifdef KERNEL_moe_sort_place
// A group for each block.
void main() {
  const int item = local_item();
  present = present_tokens(a.token_count, a.first_token, a.tokens);
  const int block = group_number() * BLOCK_SLOTS;
  for (int e = item; e < a.experts; e += GROUP) {
    int row = load_int(a.block_counts, int64_t(group_number()) * a.experts + e);
    if (is_local(e)) row += load_int(a.offsets, e - a.first_expert);
    next[e] = row;
  }
  barrier();
  for (int i = 0; i < BLOCK_SLOTS; i += GROUP) place_slots(block + i);
}
#endif
