// Sorts slots (token * topK + k) by expert, stably: where each goes follows from counts alone, so it never depends on
// who runs first. Writes what is asked for of: the permutation (local slots by expert, then ascending), its inverse,
// the counts of all experts, where each local expert's rows start, and the tile lists (experts.clh): entry 0 is
// {number of tiles, 0, 0, 0}, tile j is entry j + 1 = {expert, its first row, their end, number of its first tile}.
//
//   moe_sort_few      a group's worth of slots: each counts those that go before it; leaves no offsets
//   moe_sort_all      few slots: one group does it all
//   moe_sort_count    else: the slots of each expert in each block of BLOCK_SLOTS
//   moe_sort_scan     sums and scans them, in one group
//   moe_sort_place    places the slots of each block
//
// Slots are placed 256 at a time, in order: a work-item counts those to its left that have its expert.
#include "experts.clh"

#define GROUP 256
#define BLOCK_SLOTS 1024  /* as SlotSort.java has it */
#define MOST_EXPERTS 1024 /* as MoeRecipe.java has it */
#define EXPERTS_OF_ITEM (MOST_EXPERTS / GROUP)

#define SORT_PARAMETERS                                                                                          \
  READS(ids), READS(token_count), CHANGES(permutation), WRITES(inverse), WRITES(counts), CHANGES(offsets),        \
      WRITES(project_tiles), WRITES(down_tiles), CHANGES(block_counts), const long id_pitch, const int first_token, \
      const int tokens, const int top_k, const int slots, const int experts, const int first_expert,              \
      const int local_experts, const int project_rows, const int down_rows, const int fills_tail, const int blocks

// The expert of a slot, or -1.
static inline int expert_of(const __global int *ids, long id_pitch, int slot, int slots, int top_k, int present,
                            int experts) {
  if (slot >= slots) return -1;
  int token = slot / top_k;
  if (token >= present) return -1;
  int id = ids[token * id_pitch + (slot - token * top_k)];
  return id >= 0 && id < experts ? id : -1;
}
#define EXPERT_OF(slot) expert_of(CONST_AT(int, ids), id_pitch, slot, slots, top_k, present, experts)
#define PRESENT present_tokens(GIVEN(token_count) ? CONST_AT(int, token_count) : 0, first_token, tokens)

// Replaces MOST_EXPERTS values by the sums of those before each, and returns the sum of all.
static int scan(__local int *values, __local int *sums) {
  const int item = (int)get_local_id(0);
  int own = 0;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int i = 0; i < EXPERTS_OF_ITEM; i++) own += values[item * EXPERTS_OF_ITEM + i];
  sums[item] = own;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int d = 1; d < GROUP; d *= 2) {
    int left = item >= d ? sums[item - d] : 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    sums[item] += left;
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  int before = sums[item] - own;
  for (int i = 0; i < EXPERTS_OF_ITEM; i++) {
    int value = values[item * EXPERTS_OF_ITEM + i];
    values[item * EXPERTS_OF_ITEM + i] = before;
    before += value;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  return sums[GROUP - 1];
}

// start[e], and start[local_experts]: where rows begin. `tile` is scratch.
static void list_tiles(__global int *list, int rows, int local_experts, const __local int *start, __local int *tile,
                       __local int *sums) {
  const int item = (int)get_local_id(0);
  for (int e = item; e < MOST_EXPERTS; e += GROUP) {
    tile[e] = e < local_experts ? (start[e + 1] - start[e] + rows - 1) / rows : 0;
  }
  const int total = scan(tile, sums);
  if (item == 0) vstore4((int4)(total, 0, 0, 0), 0, list);
  for (int j = item; j < total; j += GROUP) {
    int low = 0, high = local_experts;  // the last expert whose first tile is at most j; ones without tiles precede it
    while (high - low > 1) {
      int middle = (low + high) / 2;
      if (tile[middle] <= j) {
        low = middle;
      } else {
        high = middle;
      }
    }
    vstore4((int4)(low, start[low], start[low + 1], tile[low]), j + 1, list);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
}

// From counters[e], the slots of every expert: counts, starts, offsets, tile lists and the permutation's tail.
#define FINISH_SCAN()                                                                                             \
  do {                                                                                                            \
    for (int e = item; e < experts; e += GROUP) {                                                                 \
      if (GIVEN(counts)) AT(int, counts)[e] = counters[e];                                                        \
    }                                                                                                             \
    for (int e = item; e < MOST_EXPERTS; e += GROUP) {                                                            \
      start[e] = e < local_experts ? counters[first_expert + e] : 0;                                              \
    }                                                                                                             \
    const int total = scan(start, sums);                                                                          \
    if (item == 0) start[local_experts] = total;                                                                  \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                                 \
    if (GIVEN(offsets)) {                                                                                         \
      for (int e = item; e <= local_experts; e += GROUP) AT(int, offsets)[e] = start[e];                          \
    }                                                                                                             \
    if (GIVEN(project_tiles)) list_tiles(AT(int, project_tiles), project_rows, local_experts, start, tile, sums); \
    if (GIVEN(down_tiles)) list_tiles(AT(int, down_tiles), down_rows, local_experts, start, tile, sums);          \
    if (fills_tail && GIVEN(permutation)) {                                                                       \
      for (int p = total + item; p < slots; p += GROUP) AT(int, permutation)[p] = -1;                             \
    }                                                                                                             \
  } while (0)

// Places 256 slots; next[e] is where the next slot of expert e goes, and is moved on.
#define PLACE_SLOTS(first, end)                                                                        \
  do {                                                                                                 \
    const int slot = (first) + item;                                                                   \
    const int e = slot < (end) ? EXPERT_OF(slot) : -1;                                                 \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                      \
    chosen[item] = e;                                                                                  \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                      \
    if (slot < (end)) {                                                                                \
      int row = -1;                                                                                    \
      if (e >= first_expert && e < first_expert + local_experts) {                                     \
        row = next[e];                                                                                 \
        for (int i = 0; i < item; i++) row += chosen[i] == e;                                          \
        if (GIVEN(permutation)) AT(int, permutation)[row] = slot;                                      \
      }                                                                                                \
      if (GIVEN(inverse)) AT(int, inverse)[slot] = row;                                                \
    }                                                                                                  \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                      \
    if (e >= 0) atomic_add(&next[e], 1);                                                               \
  } while (0)

// The tile list of few slots: one that is the first of a tile's rows (`bit` of starts) writes the tile's entry.
static void list_few_tiles(__global int *list, int rows, int bit, int expert, int rank, int first, int end, int slots,
                           const __local int *chosen, const __local int *starts) {
  const int item = (int)get_local_id(0);
  int before = 0, all = 0;
  for (int i = 0; i < slots; i++) {
    const int begins = starts[i] >> bit & 1;
    all += begins;
    before += chosen[i] < expert ? begins : 0;
  }
  if (item == 0) vstore4((int4)(all, 0, 0, 0), 0, list);
  if (starts[item] >> bit & 1) vstore4((int4)(expert, first, end, before), before + rank / rows + 1, list);
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moe_sort_few(SORT_PARAMETERS) {
  __local int chosen[GROUP], starts[GROUP];
  const int item = (int)get_local_id(0);
  const int present = PRESENT;
  const int id = EXPERT_OF(item);
  const int is_local = id >= first_expert && id < first_expert + local_experts;
  const int expert = is_local ? id - first_expert : -1;
  chosen[item] = id;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (GIVEN(counts)) {
    for (int e = item; e < experts; e += GROUP) {
      int count = 0;
      for (int i = 0; i < slots; i++) count += chosen[i] == e;
      AT(int, counts)[e] = count;
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  chosen[item] = is_local ? expert : INT_MAX;
  barrier(CLK_LOCAL_MEM_FENCE);
  int lower = 0, rank = 0, same = 0, total = 0;
  for (int i = 0; i < slots; i++) {
    const int other = chosen[i];
    lower += other < expert;
    same += other == expert;
    rank += other == expert && i < item;
    total += other != INT_MAX;
  }
  if (GIVEN(permutation)) {
    if (is_local) AT(int, permutation)[lower + rank] = item;
    if (fills_tail && item >= total && item < slots) AT(int, permutation)[item] = -1;
  }
  if (GIVEN(inverse) && item < slots) AT(int, inverse)[item] = is_local ? lower + rank : -1;
  starts[item] = is_local ? (rank % max(project_rows, 1) == 0 ? 1 : 0) + (rank % max(down_rows, 1) == 0 ? 2 : 0) : 0;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (GIVEN(project_tiles)) {
    list_few_tiles(AT(int, project_tiles), project_rows, 0, expert, rank, lower, lower + same, slots, chosen, starts);
  }
  if (GIVEN(down_tiles)) {
    list_few_tiles(AT(int, down_tiles), down_rows, 1, expert, rank, lower, lower + same, slots, chosen, starts);
  }
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moe_sort_all(SORT_PARAMETERS) {
  __local int counters[MOST_EXPERTS], start[MOST_EXPERTS + 1], tile[MOST_EXPERTS], sums[GROUP], chosen[GROUP];
  const int item = (int)get_local_id(0);
  const int present = PRESENT;
  for (int e = item; e < MOST_EXPERTS; e += GROUP) counters[e] = 0;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int slot = item; slot < slots; slot += GROUP) {
    int e = EXPERT_OF(slot);
    if (e >= 0) atomic_add(&counters[e], 1);  // whole numbers: any order
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  FINISH_SCAN();
  __local int *next = counters;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int e = item; e < local_experts; e += GROUP) next[first_expert + e] = start[e];
  if (GIVEN(permutation) || GIVEN(inverse)) {
    for (int first = 0; first < slots; first += GROUP) PLACE_SLOTS(first, slots);
  }
}

// A group for each block.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moe_sort_count(SORT_PARAMETERS) {
  __local int counters[MOST_EXPERTS];
  const int item = (int)get_local_id(0);
  const int present = PRESENT;
  for (int e = item; e < experts; e += GROUP) counters[e] = 0;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int i = 0; i < BLOCK_SLOTS; i += GROUP) {
    int e = EXPERT_OF((int)get_group_id(0) * BLOCK_SLOTS + i + item);
    if (e >= 0) atomic_add(&counters[e], 1);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int e = item; e < experts; e += GROUP) {
    AT(int, block_counts)[(long)get_group_id(0) * experts + e] = counters[e];
  }
}

// One group. Leaves in block_counts where a block's slots of an expert start within the expert's.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moe_sort_scan(SORT_PARAMETERS) {
  __local int counters[MOST_EXPERTS], start[MOST_EXPERTS + 1], tile[MOST_EXPERTS], sums[GROUP];
  const int item = (int)get_local_id(0);
  for (int e = item; e < experts; e += GROUP) {
    int count = 0;
    __global int *column = AT(int, block_counts) + e;
    for (int b = 0; b < blocks; b++) {
      int c = column[(long)b * experts];
      column[(long)b * experts] = count;
      count += c;
    }
    counters[e] = count;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  FINISH_SCAN();
}

// A group for each block.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moe_sort_place(SORT_PARAMETERS) {
  __local int next[MOST_EXPERTS], chosen[GROUP];
  const int item = (int)get_local_id(0);
  const int present = PRESENT;
  const int block = (int)get_group_id(0) * BLOCK_SLOTS;
  for (int e = item; e < experts; e += GROUP) {
    int row = AT(int, block_counts)[(long)get_group_id(0) * experts + e];
    if (e >= first_expert && e < first_expert + local_experts) row += AT(int, offsets)[e - first_expert];
    next[e] = row;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int i = 0; i < BLOCK_SLOTS; i += GROUP) PLACE_SLOTS(block + i, slots);
}
