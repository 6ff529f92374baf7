// Who reads which block: block numbers over a whole batch, and for each key-value head and block the list of
// query rows that selected it.
//
// Block numbers. Sequence s starts at block floor(start(s) / blockSize) + s. That needs no scan over sequences,
// is strictly ascending, and leaves room for all its blocks, the ragged last one too; a number that no block has
// is an empty block. So T tokens of B sequences need T / blockSize + B + 1 numbers at most (blocksPerHead).
//
// Rows. Row t * G + g is query head g of the group at token t, entry row * slots + slot is one of its selected
// blocks. A list holds entries in ascending order, so results that sum over a list repeat bit for bit. Entries
// are 32 bits wide: T * G * slots is below 2^32 for one key-value head.
#pragma once
#include <cstdint>

#include "../common/sequences.cuh"

namespace weft::moba {

// One block of keys: tokens [start, end), and the number of the first block of its sequence.
struct Block {
  int start, end, first, sequence;
};

// What a token belongs to: its own block, or -1 (padding), and the first block of its sequence.
struct Home {
  int own, first;
};

// As MobaLists.java writes it.
struct Lists {
  const Home* homes;        // [T]
  const Block* blocks;      // [blocksPerHead]
  const uint32_t* offsets;  // [heads * blocksPerHead + 1], running over all heads modulo 2^32
  const uint32_t* tiles;    // [heads * blocksPerHead + 1], tiles of `tileRows` entries before a list
  const uint32_t* entries;  // [heads][entriesPerHead]
  i64 entriesPerHead;
  int blocksPerHead, heads, slots, group, tileRows, padding;

  struct List {
    const uint32_t* entries;
    uint32_t count;
  };

  // The rows that selected a block; `head` counts from the first of this pass over heads.
  __device__ __forceinline__ List list(int head, int block) const {
    i64 at = static_cast<i64>(head) * blocksPerHead;
    uint32_t start = __ldg(offsets + at + block);
    uint32_t count = __ldg(offsets + at + block + 1) - start;
    return {entries + head * entriesPerHead + (start - __ldg(offsets + at)), count};
  }

  __device__ __forceinline__ uint32_t tileCount() const { return __ldg(tiles + static_cast<i64>(heads) * blocksPerHead); }

  // head * blocksPerHead + block of a tile; its place in the list is (tile - tiles[that]) * tileRows.
  __device__ __forceinline__ i64 listOfTile(uint32_t tile) const {
    i64 low = 0, high = static_cast<i64>(heads) * blocksPerHead;  // tiles[low] <= tile < tiles[high]
    while (high - low > 1) {
      i64 middle = (low + high) >> 1;
      if (__ldg(tiles + middle) <= tile) low = middle; else high = middle;
    }
    return low;
  }
};

// A share of the tiles of some heads' lists: neighbours, so that they mostly have one block's keys in common and the
// search for the first one's list is paid once.
struct TileWalk {
  const Lists& lists;
  i64 at;  // head * blocksPerHead + block
  uint32_t tile, end, first, next;

  __device__ __forceinline__ TileWalk(const Lists& lists, int firstHead, int heads, int share, int shares) : lists(lists) {
    i64 begin = static_cast<i64>(firstHead) * lists.blocksPerHead;
    uint32_t from = __ldg(lists.tiles + begin);
    i64 count = __ldg(lists.tiles + begin + static_cast<i64>(heads) * lists.blocksPerHead) - from;
    tile = from + static_cast<uint32_t>(count * share / shares);
    end = from + static_cast<uint32_t>(count * (share + 1) / shares);
    at = begin;
    if (live()) find();
  }

  __device__ __forceinline__ bool live() const { return tile < end; }
  __device__ __forceinline__ int head() const { return static_cast<int>(at / lists.blocksPerHead); }
  __device__ __forceinline__ int block() const { return static_cast<int>(at % lists.blocksPerHead); }
  __device__ __forceinline__ uint32_t place() const { return (tile - first) * lists.tileRows; }

  __device__ __forceinline__ void advance() {
    if (++tile < next || !live()) return;
    uint32_t after = __ldg(lists.tiles + at + 2);
    if (tile < after) {  // mostly the next list
      at++;
      first = next;
      next = after;
    } else {
      find();
    }
  }

 private:
  __device__ __forceinline__ void find() {
    at = lists.listOfTile(tile);
    first = __ldg(lists.tiles + at);
    next = __ldg(lists.tiles + at + 1);
  }
};

// As MobaLists.java writes it. A null base means that every past block is selected, block i in slot i.
struct Selection {
  const int* base;
  i64 tokenPitch, headPitch;

  // The global number of a selected block, or -1 where the slot holds no past block of the token's sequence.
  __device__ __forceinline__ int block(Home home, i64 token, i64 head, int slot) const {
    int index = base ? __ldg(base + token * tokenPitch + head * headPitch + slot) : slot;
    return static_cast<uint32_t>(index) < static_cast<uint32_t>(home.own - home.first) ? home.first + index : -1;
  }
};

}  // namespace weft::moba
