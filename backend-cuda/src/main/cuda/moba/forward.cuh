// MoBA forward, packed or over the paged cache: what its kernels share.
//
// Launches (MobaForwardPass.java), the last six once for each group of key-value heads that scratch has room for:
//   moba_means       the mean of every block, in the storage type (packed only; append keeps those of the cache)
//   moba_blocks      tables of tokens and blocks (moba_lists.cu); moba_paged_blocks for the cache
//   moba_select      scores = q . mean on tensor cores, and the topK - 1 best past blocks of every row
//   moba_list_*      for each block the list of rows that selected it (moba_lists.cu)
//   moba_listed      a thread block takes a tile of one list's rows and meets the block's keys: partial results,
//                    normalised, in the storage type, each with its log-sum-exp
//   moba_own         a thread block takes neighbouring rows of a sequence, meets their own blocks causally, and
//                    adds the rows' partial results in slot order
// So keys and values of a block are read once for each tile of its readers, whatever the selection looks like, and
// every sum has an order that no scheduling changes.
//
// Rows: row r of a sequence is query head r % G of the group at its token r / G, so heads of a group share tiles.
// Positions: of packed sequences, the row in k and v; of the cache, the position within its sequence.
#pragma once
#include "../common/mma.cuh"
#include "lists.cuh"

namespace weft::moba {

struct Matrix3 {  // [T, heads, width], innermost stride 1
  void* base;
  i64 tokenPitch, headPitch;
  template <class E>
  __device__ __forceinline__ char* row(i64 token, i64 head) const {
    return static_cast<char*>(base) + (token * tokenPitch + head * headPitch) * E::kBytes;
  }
};

// Keys, values or means of packed rows (no table: page 0, slots are rows) or of the cache.
struct Pages {
  void* base;
  i64 pagePitch, slotPitch, headPitch;
  template <class E>
  __device__ __forceinline__ char* row(i64 page, i64 slot, i64 head) const {
    return static_cast<char*>(base) + (page * pagePitch + slot * slotPitch + head * headPitch) * E::kBytes;
  }
};

enum VectorBit : int { kVectorQ = 1, kVectorK = 2, kVectorV = 4, kVectorMeans = 8, kVectorOut = 16 };

// What sequences and pages a launch has. As MobaArguments.java writes it, like all structures here.
struct Batch {
  const int* cu;         // [B + 1], rows of q
  const int* cacheLens;  // [B], or null: packed
  const int* pageTable;  // [B, pageColumns]
  i64 pageTablePitch;
  int tokens, sequences, group, blockSize;
  int pageSize, pages, pageColumns, blocksPerSequence;
};

struct ForwardArguments : Batch {
  Lists lists;
  Matrix3 q, out;
  Pages k, v, means;
  int* selection;  // [T, H, columns]
  i64 selectionTokenPitch, selectionHeadPitch;
  float* lse;  // [T, H], or null
  i64 lseTokenPitch, lseHeadPitch;
  void* partials;            // [heads of this pass][entriesPerHead][valuePitch]
  float* partialLse;         // [heads of this pass][entriesPerHead], to base 2, of scaled scores
  unsigned long long* heap;  // [heads of this pass][entriesPerHead], where partials come later
  float scaleLog2;
  int dim, valueDim, valuePitch, columns;
  int firstHead, headCount;  // key-value heads of this pass
  int vector;                // VectorBit: which have 16-byte rows
};

// One sequence of a launch, in bounds whatever cu_seqlens and cache_lens hold.
struct Sequence {
  int index, start, end;  // its rows of q
  int shift;              // position of a row's token less its row
  int keys;               // positions end here; 0: none is seen
  int origin;             // position of its first key

  __device__ __forceinline__ int ownStart(int position, int blockSize) const {
    return origin + (position - origin) / blockSize * blockSize;
  }
};

__device__ __forceinline__ Sequence sequenceAt(const Batch& a, int index) {
  Sequences q{a.cu, a.sequences, a.tokens};
  Sequence s{index, q.start(index), q.end(index), 0, 0, 0};
  if (a.cacheLens == nullptr) {
    s.origin = s.start;
    s.keys = s.end;
  } else {
    int length = __ldg(a.cacheLens + index), added = max(s.end - s.start, 0);
    bool fits = length >= added && length <= static_cast<i64>(a.pageColumns) * a.pageSize;
    s.keys = fits ? length : 0;
    s.shift = fits ? length - added - s.start : -s.start;
  }
  return s;
}

// Tiles of query rows. Those of sequence s begin at number start(s) * G / rows + s, which leaves room for all of
// them without a scan over sequences.
struct QueryTile {
  Sequence sequence;
  int first, count;  // rows of the sequence

  __device__ __forceinline__ static i64 firstTile(const Batch& a, int s, int rows) {
    Sequences q{a.cu, a.sequences, a.tokens};
    return static_cast<i64>(q.start(s)) * a.group / rows + s;
  }

  // count 0: a number without a tile.
  __device__ __forceinline__ QueryTile(const Batch& a, i64 number, int rows) : sequence(), first(0), count(0) {
    int low = 0, high = a.sequences;  // the last sequence whose first tile is not beyond
    while (high - low > 1) {
      int middle = low + (high - low) / 2;
      if (firstTile(a, middle, rows) <= number) low = middle; else high = middle;
    }
    sequence = sequenceAt(a, low);
    i64 from = (number - firstTile(a, low, rows)) * rows;
    i64 all = static_cast<i64>(sequence.end - sequence.start) * a.group;
    if (from < 0 || from >= all) return;
    first = static_cast<int>(from);
    count = static_cast<int>(min(static_cast<i64>(rows), all - from));
  }

  __device__ __forceinline__ int token(const Batch& a, int row) const {
    return sequence.start + static_cast<int>(static_cast<uint32_t>(first + row) / static_cast<uint32_t>(a.group));
  }
  __device__ __forceinline__ int headInGroup(const Batch& a, int row) const {
    return static_cast<int>(static_cast<uint32_t>(first + row) % static_cast<uint32_t>(a.group));
  }
};

// The page of a position of the cache, or -1.
__device__ __forceinline__ int pageOf(const Batch& a, int sequence, int position) {
  int page = __ldg(a.pageTable + sequence * a.pageTablePitch + position / a.pageSize);
  return static_cast<uint32_t>(page) < static_cast<uint32_t>(a.pages) ? page : -1;
}

struct Location {
  int page, slot;  // page -1: absent
};
__device__ __forceinline__ Location keyAt(const Batch& a, int sequence, int position) {
  if (a.cacheLens == nullptr) return {0, position};
  return {pageOf(a, sequence, position), position % a.pageSize};
}

// The mean of block `block` of a sequence, counted within it.
__device__ __forceinline__ Location meanAt(const Batch& a, const Sequence& s, int block) {
  if (a.cacheLens == nullptr) return {0, s.start / a.blockSize + s.index + block};
  // A page divides a block or the reverse. Few divisions: the ratios are the same for all blocks.
  int column = 0, slot = 0;
  if (a.pageSize <= a.blockSize) {
    column = (block + 1) * (a.blockSize / a.pageSize) - 1;
  } else {
    int ratio = a.pageSize / a.blockSize;
    column = block / ratio;
    slot = block - column * ratio;
  }
  int page = __ldg(a.pageTable + s.index * a.pageTablePitch + column);
  return {static_cast<uint32_t>(page) < static_cast<uint32_t>(a.pages) ? page : -1, slot};
}

__device__ __forceinline__ float exp2Approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Eight neighbouring columns of a row, as memory holds them.
template <class E>
struct EightColumns {
  uint32_t w[2 * E::kBytes];

  __device__ __forceinline__ void zero() {
#pragma unroll
    for (auto& x : w) x = 0;
  }
  __device__ __forceinline__ void loadAligned(const char* from) {
#pragma unroll
    for (int i = 0; i < E::kBytes / 2; i++) {
      uint4 x = __ldg(reinterpret_cast<const uint4*>(from) + i);
      w[4 * i] = x.x; w[4 * i + 1] = x.y; w[4 * i + 2] = x.z; w[4 * i + 3] = x.w;
    }
  }
  // From column `column` of a row of `width`; zeros beyond it. `vector`: the row is aligned to 16 bytes.
  __device__ __forceinline__ void load(const char* row, int column, int width, bool vector) {
    if (vector && column + 8 <= width) {
      loadAligned(row + column * E::kBytes);
      return;
    }
    zero();
#pragma unroll
    for (int i = 0; i < 8; i++) {
      if (column + i < width) {
        if constexpr (E::kBytes == 4) {
          w[i] = __ldg(reinterpret_cast<const uint32_t*>(row) + column + i);
        } else {
          uint32_t bits = __ldg(reinterpret_cast<const unsigned short*>(row) + column + i);
          w[i >> 1] |= (i & 1) ? bits << 16 : bits;
        }
      }
    }
  }
  __device__ __forceinline__ void widen(float (&x)[8]) const {
#pragma unroll
    for (int c = 0; c < 8; c++) {
      if constexpr (E::kBytes == 4) {
        x[c] = __uint_as_float(w[c]);
      } else {
        x[c] = E::widen((c & 1) ? w[c >> 1] >> 16 : w[c >> 1] & 0xffffu, 0);
      }
    }
  }
};

// Writes eight neighbouring columns, rounded, as far as the row reaches.
template <class E>
__device__ __forceinline__ void write8(char* row, int column, int width, bool vector, const float (&x)[8]) {
  if (vector && column + 8 <= width) {
    if constexpr (E::kBytes == 4) {
      float4* to = reinterpret_cast<float4*>(row + column * 4);
      to[0] = make_float4(x[0], x[1], x[2], x[3]);
      to[1] = make_float4(x[4], x[5], x[6], x[7]);
    } else {
      *reinterpret_cast<uint4*>(row + column * 2) = make_uint4(
          E::narrowPair(x[0], x[1]), E::narrowPair(x[2], x[3]), E::narrowPair(x[4], x[5]), E::narrowPair(x[6], x[7]));
    }
    return;
  }
#pragma unroll
  for (int c = 0; c < 8; c++) {
    if (column + c < width) {
      if constexpr (E::kBytes == 4) {
        reinterpret_cast<float*>(row)[column + c] = x[c];
      } else {
        reinterpret_cast<unsigned short*>(row)[column + c] = static_cast<unsigned short>(E::narrow(x[c], 0));
      }
    }
  }
}

// The last sequence that starts at or before a token and does not end there, or -1.
__device__ __forceinline__ int sequenceOfToken(const Batch& a, int token) {
  Sequences q{a.cu, a.sequences, a.tokens};
  int low = -1, high = a.sequences;
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    if (q.start(middle) <= token) low = middle; else high = middle;
  }
  return low >= 0 && token < q.end(low) ? low : -1;
}

constexpr float kMinusInfinity = -__builtin_huge_valf();

}  // namespace weft::moba
