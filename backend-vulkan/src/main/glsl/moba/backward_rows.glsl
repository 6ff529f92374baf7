// The kernels that leave parts of dq: which rows and keys a group's tile has. What includes this has meet_keys(), by which
// OWN_ROWS rows meet keys, set_row(), and its shared memory with part_of.

#ifdef KERNEL_moba_backward_listed
// A group for each tile that there may be of the lists of `heads` heads of the pass.
void main() {
  uint tile = load_uint(a.tiles_before, int64_t(a.first_list) * a.block_count) + group_id();
  if (tile >= load_uint(a.tiles_before, int64_t(a.first_list + a.heads) * a.block_count)) return;
  uint list = load_uint(a.list_of_tile, tile);
  int list_head = int(list / uint(a.block_count));
  int head = list_head - a.first_list;
  int kv_head = a.first_head + head;
  Block block = load_int4(a.blocks, list % uint(a.block_count));
  uint length = list_length(a.offsets, list);
  uint first = (tile - load_uint(a.tiles_before, list)) * OWN_ROWS;
  int64_t entries =
      list_head * a.entries_per_head + int64_t(list_start(a.offsets, list, int64_t(list_head) * a.block_count));
  int id = local_id();
  if (id < OWN_ROWS) {
    int64_t row = -1;
    part_of[id] = -1;
    if (first + id < length) {
      uint entry = load_uint(a.entries, entries + first + id);
      uint index = entry / uint(a.slots);
      row = int64_t(index / uint(a.group)) * a.query_heads + int64_t(kv_head) * a.group + index % uint(a.group);
      part_of[id] = (int64_t(head) * a.tokens * a.group + index) * (a.slots + 1) + (entry - index * uint(a.slots));
    }
    set_row(id, row, SEES_ALL);
  }
  barrier();
  meet_keys(kv_head, block.x, block.y, id);
}
#endif

#ifdef KERNEL_moba_backward_own
// Groups: heads of the pass, of each its block numbers, of each `shares` of OWN_ROWS rows.
void main() {
  uint item = group_id();
  int share = int(item % uint(a.shares));
  int number = int(item / uint(a.shares) % uint(a.block_count));
  int head = int(item / uint(a.shares) / uint(a.block_count));
  int kv_head = a.first_head + head;
  Block block = load_int4(a.blocks, number);
  int64_t first = int64_t(share) * OWN_ROWS;
  int64_t all = int64_t(block.y - block.x) * a.group;
  if (first >= all) return;
  int end = block.x + int((min(first + OWN_ROWS, all) - 1) / a.group) + 1;
  int id = local_id();
  if (id < OWN_ROWS) {
    int64_t row = -1;
    int token = 0;
    part_of[id] = -1;
    if (first + id < all) {
      token = block.x + int((first + id) / a.group);
      int g = int((first + id) % a.group);
      row = int64_t(token) * a.query_heads + int64_t(kv_head) * a.group + g;
      part_of[id] = ((int64_t(head) * a.tokens + token) * a.group + g) * (a.slots + 1) + a.slots;
    }
    set_row(id, row, token);
  }
  barrier();
  meet_keys(kv_head, block.x, end, id);
}
#endif
