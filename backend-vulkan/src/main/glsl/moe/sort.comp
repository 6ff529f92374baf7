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
shared int starts[GROUP];

// The tile list of few slots: one that is the first of a tile's rows (`bit` of starts) writes the tile's entry.
void list_few_tiles(uint64_t list, int rows, int bit, int expert, int rank, int first, int end) {
  const int item = local_item();
  int before = 0, all = 0;
  for (int i = 0; i < a.slots; i++) {
    const int begins = starts[i] >> bit & 1;
    all += begins;
    before += chosen[i] < expert ? begins : 0;
  }
  if (item == 0) store_int4(list, 0, ivec4(all, 0, 0, 0));
  if ((starts[item] >> bit & 1) != 0) store_int4(list, before + rank / rows + 1, ivec4(expert, first, end, before));
}

void main() {
  const int item = local_item(), slots = a.slots;
  present = present_tokens(a.token_count, a.first_token, a.tokens);
  const int id = expert_of(item);
  const bool here = is_local(id);
  const int expert = here ? id - a.first_expert : -1;
  chosen[item] = id;
  barrier();
  if (GIVEN(counts)) {
    for (int e = item; e < a.experts; e += GROUP) {
      int count = 0;
      for (int i = 0; i < slots; i++) count += chosen[i] == e ? 1 : 0;
      store_int(a.counts, e, count);
    }
  }
  barrier();
  chosen[item] = here ? expert : LARGEST_INT;
  barrier();
  int lower = 0, rank = 0, same = 0, total = 0;
  for (int i = 0; i < slots; i++) {
    const int other = chosen[i];
    lower += other < expert ? 1 : 0;
    same += other == expert ? 1 : 0;
    rank += other == expert && i < item ? 1 : 0;
    total += other != LARGEST_INT ? 1 : 0;
  }
  if (GIVEN(permutation)) {
    if (here) store_int(a.permutation, lower + rank, item);
    if (a.fills_tail != 0 && item >= total && item < slots) store_int(a.permutation, item, -1);
  }
  if (GIVEN(inverse) && item < slots) store_int(a.inverse, item, here ? lower + rank : -1);
  int first_of = 0;
  if (here) {
    first_of = (rank % max(a.project_rows, 1) == 0 ? 1 : 0) + (rank % max(a.down_rows, 1) == 0 ? 2 : 0);
  }
  starts[item] = first_of;
  barrier();
  if (GIVEN(project_tiles)) list_few_tiles(a.project_tiles, a.project_rows, 0, expert, rank, lower, lower + same);
  if (GIVEN(down_tiles)) list_few_tiles(a.down_tiles, a.down_rows, 1, expert, rank, lower, lower + same);
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
