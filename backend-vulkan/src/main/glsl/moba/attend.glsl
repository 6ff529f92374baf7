// Attention's kernels: which rows and keys a group's tile has. What includes this has begin_keys(), which may set out for
// the first keys before the rows are known, attend(), and its shared memory with query_at, part_at and seen_of.

#ifdef KERNEL_moba_listed
// A group for each tile that there may be.
void main() {
  uint tile = group_id();
  uint list = load_uint(a.list_of_tile, tile);  // together with how many there are: beyond them it is not used
  if (tile >= load_uint(a.tiles_before, int64_t(a.heads) * a.block_count)) return;
  int head = int(list / uint(a.block_count));
  int kv_head = a.first_head + head;
  Block block = load_int4(a.blocks, list % uint(a.block_count));
  uint length = list_length(a.offsets, list);
  uint first = (tile - load_uint(a.tiles_before, list)) * ROWS;
  begin_keys(kv_head, block.w, block.x, block.y);
  int64_t entries = head * a.entries_per_head + int64_t(list_start(a.offsets, list, int64_t(head) * a.block_count));
  int id = local_id();
  if (id < ROWS) {
    query_at[id] = -1;
    part_at[id] = -1;
    seen_of[id] = ivec2(block.x, block.y - 1);
    if (first + id < length) {
      uint entry = load_uint(a.entries, entries + first + id);
      uint row = entry / uint(a.slots);
      uint slot = entry - row * uint(a.slots);
      int64_t token = row / uint(a.group);
      query_at[id] = token * a.q_token_pitch + (int64_t(kv_head) * a.group + row % uint(a.group)) * a.q_head_pitch;
      part_at[id] = (int64_t(head) * a.tokens * a.group + row) * (a.slots + 1) + slot;
    }
  }
  barrier();
  attend(kv_head, block.w, block.x, block.y, block.x, block.y - 1);
}
#endif

#ifdef KERNEL_moba_own
// Groups along x: tiles of rows; along y: heads of the pass.
void main() {
  QueryTile tile = query_tile(group_id(), ROWS);
  if (tile.count == 0) return;
  Sequence s = tile.sequence;
  int head = int(gl_WorkGroupID.y);
  int kv_head = a.first_head + head;
  int begin = 0, end = 0, all_from = 0, all_to = 0;
  if (s.keys > 0) {
    int first = tile_token(tile, 0) + s.shift;
    int last = tile_token(tile, tile.count - 1) + s.shift;
    begin = own_start(s, first);
    end = last + 1;
    all_from = own_start(s, last);
    all_to = first;
  }
  begin_keys(kv_head, s.index, begin, end);
  int id = local_id();
  if (id < ROWS) {
    query_at[id] = -1;
    part_at[id] = -1;
    seen_of[id] = ivec2(begin, begin - 1);
    if (id < tile.count) {
      int64_t token = tile_token(tile, id);
      int g = tile_head(tile, id);
      query_at[id] = token * a.q_token_pitch + (int64_t(kv_head) * a.group + g) * a.q_head_pitch;
      part_at[id] = (int64_t(head) * a.tokens * a.group + token * a.group + g) * (a.slots + 1) + a.slots;
      if (s.keys > 0) {
        int position = int(token) + s.shift;
        seen_of[id] = ivec2(own_start(s, position), position);
      }
    }
  }
  barrier();
  attend(kv_head, s.index, begin, end, all_from, all_to);
}
#endif
