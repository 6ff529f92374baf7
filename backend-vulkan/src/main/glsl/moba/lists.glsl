// How other kernels read the lists that lists.comp builds. Included behind the arguments.
#ifndef WEFT_MOBA_LISTS
#define WEFT_MOBA_LISTS

// The number of a selected block, or -1 where the slot holds no past block of the token's sequence.
int selected_block(uint64_t selection, int64_t token_pitch, int64_t head_pitch, Home home, int64_t token, int64_t head,
                   int slot) {
  if (home.x <= home.y) return -1;
  int index = slot;
  if (selection != 0ul) index = load_int(selection, token * token_pitch + head * head_pitch + slot);
  return uint(index) < uint(home.x - home.y) ? home.y + index : -1;
}

// `first_of_head` is the head's first list, `head` counting from the first of this pass over heads; offsets run over all
// of them, a list's entries over one's.
uint list_start(uint64_t offsets, int64_t list, int64_t first_of_head) {
  return load_uint(offsets, list) - load_uint(offsets, first_of_head);
}
uint list_length(uint64_t offsets, int64_t list) { return load_uint(offsets, list + 1) - load_uint(offsets, list); }

#endif
