// Where the sequences of a launch lie: packed rows, or a paged cache; whatever the device holds in cu_seqlens,
// cache_lens and the page table, what comes out here is in bounds. Included behind the arguments (batch.glsl).
#ifndef WEFT_MOBA_SEQUENCES
#define WEFT_MOBA_SEQUENCES

#ifdef PAGED
#define IS_PAGED (PAGED != 0)
#else
#define IS_PAGED GIVEN(cache_lens)
#endif

struct Sequence {
  int index, start, end;  // its rows of q
  int shift;              // position of a row's token less its row
  int keys;               // positions end here; 0: none is seen
  int origin;             // position of its first key
};

int sequence_start(int s) { return clamp(load_int(a.cu, s), 0, a.tokens); }

Sequence sequence_at(int index) {
  Sequence s;
  s.index = index;
  s.start = sequence_start(index);
  s.end = sequence_start(index + 1);
  s.shift = 0;
  if (!IS_PAGED) {
    s.origin = s.start;
    s.keys = s.end;
  } else {
    int length = load_int(a.cache_lens, index);
    int added = max(s.end - s.start, 0);
    bool fits = length >= added && int64_t(length) <= int64_t(a.page_columns) * int64_t(a.page_size);
    s.origin = 0;
    s.keys = fits ? length : 0;
    s.shift = fits ? length - added - s.start : -s.start;
  }
  return s;
}

// The last sequence that starts at or before a token and does not end there, or -1.
int sequence_of_token(int token) {
  int low = -1, high = a.sequences;
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    if (sequence_start(middle) <= token) {
      low = middle;
    } else {
      high = middle;
    }
  }
  int found = -1;
  if (low >= 0) {
    if (token < sequence_start(low + 1)) found = low;
  }
  return found;
}

int first_block(int s) {
  return IS_PAGED ? s * a.blocks_per_sequence : sequence_start(s) / a.block_size + s;
}

int page_in_table(int64_t at_table) {
  int page = load_int(a.page_table, at_table);
  return uint(page) < uint(a.pages) ? page : -1;
}

// The page of a position of the cache, or -1.
int page_of(int sequence, int position) {
  return page_in_table(int64_t(sequence) * a.page_table_pitch + position / a.page_size);
}

// Where a key or value lies: page x (-1: absent) and slot y.
ivec2 key_at(int sequence, int position) {
  ivec2 place = ivec2(0, position);
  if (IS_PAGED) place = ivec2(page_of(sequence, position), position % a.page_size);
  return place;
}

// Where the mean of block `block` of a sequence lies, counted within it. In the cache a page divides a block or the
// reverse, and the mean lies with the block's last token.
ivec2 mean_at(Sequence s, int block) {
  if (!IS_PAGED) return ivec2(0, s.start / a.block_size + s.index + block);
  int column = 0, slot = 0;
  if (a.page_size <= a.block_size) {
    column = (block + 1) * (a.block_size / a.page_size) - 1;
  } else {
    int ratio = a.page_size / a.block_size;
    column = block / ratio;
    slot = block - column * ratio;
  }
  return ivec2(page_in_table(int64_t(s.index) * a.page_table_pitch + column), slot);
}

int own_start(Sequence s, int position) { return s.origin + (position - s.origin) / a.block_size * a.block_size; }

// ---- tiles of query rows ---------------------------------------------------------------------------------------

// Rows [first, first + count) of a sequence. Tiles of sequence s begin at number start(s) * group / rows + s.
struct QueryTile {
  Sequence sequence;
  int first, count;  // count 0: a number without a tile
};

QueryTile query_tile(int64_t number, int rows) {
  int low = 0, high = a.sequences;  // the last sequence whose first tile is not beyond
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    if (int64_t(sequence_start(middle)) * a.group / rows + middle <= number) {
      low = middle;
    } else {
      high = middle;
    }
  }
  QueryTile tile;
  tile.sequence = sequence_at(low);
  int64_t from = (number - (int64_t(tile.sequence.start) * a.group / rows + low)) * rows;
  int64_t all = int64_t(tile.sequence.end - tile.sequence.start) * a.group;
  bool live = from >= 0 && from < all;
  tile.first = live ? int(from) : 0;
  tile.count = live ? int(min(int64_t(rows), all - from)) : 0;
  return tile;
}

int tile_token(QueryTile tile, int row) {
  return tile.sequence.start + int(uint(tile.first + row) / uint(a.group));
}
int tile_head(QueryTile tile, int row) { return int(uint(tile.first + row) % uint(a.group)); }

#endif
