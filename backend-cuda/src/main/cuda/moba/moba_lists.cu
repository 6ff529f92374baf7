// Builds block tables and lists (lists.cuh) on the device: a stable counting sort by block, with no result that
// depends on scheduling. Names and argument structures: MobaLists.java.
//
//   moba_blocks        tables of tokens and blocks
//   moba_list_count    a warp per key-value head and tile of rows counts the blocks of its entries
//   moba_list_scan     per block, the counts of earlier tiles; the last thread block to finish scans over blocks
//   moba_list_scatter  the same warps put their entries in place, in order
#include "lists.cuh"

using namespace weft;
using namespace weft::moba;

namespace {
constexpr int kTableThreads = 128;
constexpr int kColumns = 32, kSegments = 16, kScanThreads = kColumns * kSegments;
constexpr int kAhead = 8;  // entries that a lane loads before it needs the first
}

// ---- tables ----------------------------------------------------------------------------------------------------

struct BlocksArguments {
  const int* cu;  // [sequences + 1]
  Home* homes;
  Block* blocks;
  uint32_t* ticket;
  int tokens, sequences, blockSize, blocksPerHead;
};

// The last sequence with key(s) <= x, or -1.
template <class Key>
__device__ __forceinline__ int lastAtMost(int count, int x, Key key) {
  int low = -1, high = count;
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    if (key(middle) <= x) low = middle; else high = middle;
  }
  return low;
}

// One thread for each token and each block number.
extern "C" __global__ void __launch_bounds__(kTableThreads) moba_blocks(const __grid_constant__ BlocksArguments a) {
  i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  Sequences q{a.cu, a.sequences, a.tokens};
  auto first = [&](int s) { return q.start(s) / a.blockSize + s; };
  if (i == 0) *a.ticket = 0;
  if (i < a.tokens) {
    int t = static_cast<int>(i);
    int s = lastAtMost(a.sequences, t, [&](int m) { return q.start(m); });
    Home home{-1, 0};
    if (s >= 0 && t < q.end(s)) {
      home.first = first(s);
      home.own = home.first + (t - q.start(s)) / a.blockSize;
    }
    a.homes[i] = home;
  }
  if (i < a.blocksPerHead) {
    int b = static_cast<int>(i);
    int s = lastAtMost(a.sequences, b, first);
    Block block{0, 0, 0, -1};
    if (s >= 0) {
      int start = q.start(s), end = q.end(s);
      i64 from = start + static_cast<i64>(b - first(s)) * a.blockSize;
      if (from < end) {
        block.start = static_cast<int>(from);
        block.end = static_cast<int>(min(from + a.blockSize, static_cast<i64>(end)));
        block.first = first(s);
        block.sequence = s;
      }
    }
    a.blocks[i] = block;
  }
}

// ---- lists -----------------------------------------------------------------------------------------------------

struct ListArguments {
  Selection selection;
  const Home* homes;
  uint32_t* matrix;   // [heads, tiles, blocksPerHead]: counts, then the entries of earlier tiles
  uint32_t* counts;   // [heads * blocksPerHead]
  uint32_t* offsets;  // [heads * blocksPerHead + 1]
  uint32_t* tilesBefore;
  uint32_t* entries;
  uint32_t* ticket;
  i64 entriesPerHead;
  int blocksPerHead, firstHead, heads, group, slots, tileOfRows, tiles, shared, tileRows, tokens;
};

namespace {

// The entries of a warp's tile, kAhead of each lane at a time.
struct Tile {
  const ListArguments& a;
  int head, tile, lane;
  uint32_t from, to;

  __device__ __forceinline__ Tile(const ListArguments& a, int warp)
      : a(a), head(warp / a.tiles), tile(warp % a.tiles), lane(threadIdx.x) {
    uint32_t row = static_cast<uint32_t>(tile) * a.tileOfRows;
    uint32_t rows = static_cast<uint32_t>(a.tokens) * a.group;
    from = min(row, rows) * a.slots;
    to = min(row + static_cast<uint32_t>(a.tileOfRows), rows) * a.slots;
  }

  // The tile's counters, where they do not fit shared memory or outlive the launch.
  __device__ __forceinline__ uint32_t* stored() const {
    return a.matrix + (static_cast<i64>(head) * a.tiles + tile) * a.blocksPerHead;
  }

  // The lane's next entry: its row and slot, found once by division and then by steps of 32 entries.
  uint32_t next, row, slot;
  __device__ __forceinline__ void start() {
    next = from + lane;
    row = next / static_cast<uint32_t>(a.slots);
    slot = next - row * a.slots;
  }

  // Blocks of the lane's next kAhead entries, one of every 32: -1 where there is none.
  __device__ __forceinline__ void load(int (&block)[kAhead]) {
    Home home[kAhead];
    uint32_t token[kAhead], member[kAhead];
    int slots[kAhead];
    uint32_t rowStep = 32u / a.slots, slotStep = 32u % a.slots;
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      token[i] = a.group == 1 ? row : row / a.group;
      member[i] = row - token[i] * a.group;
      slots[i] = static_cast<int>(slot);
      home[i] = Home{-1, 0};
      if (next - from < to - from) home[i] = a.homes[token[i]];
      next += 32;
      row += rowStep;
      slot += slotStep;
      if (slot >= static_cast<uint32_t>(a.slots)) {
        slot -= a.slots;
        row++;
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      block[i] = -1;
      if (home[i].own > home[i].first) {
        int query = (a.firstHead + head) * a.group + static_cast<int>(member[i]);
        block[i] = a.selection.block(home[i], token[i], query, slots[i]);
      }
    }
  }
};

// Shared memory's own atomics are quicker than those of an address that may lie anywhere: two forms of each.
template <bool kShared>
__device__ __forceinline__ void count(const ListArguments& a, uint32_t* shared) {
  Tile tile(a, blockIdx.x);
  uint32_t* counters = kShared ? shared : tile.stored();
  for (int b = tile.lane; b < a.blocksPerHead; b += 32) counters[b] = 0;
  __syncwarp();
  tile.start();
  for (uint32_t first = tile.from; first < tile.to; first += 32 * kAhead) {
    int block[kAhead];
    tile.load(block);
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      if (block[i] >= 0) atomicAdd(counters + block[i], 1u);
    }
    if (tile.to - first <= 32 * kAhead) break;  // or `first` could wrap
  }
  __syncwarp();
  if (kShared) {
    uint32_t* stored = tile.stored();
    for (int b = tile.lane; b < a.blocksPerHead; b += 32) stored[b] = counters[b];
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(32) moba_list_count(const __grid_constant__ ListArguments a) {
  extern __shared__ uint32_t shared[];
  if (a.shared) count<true>(a, shared); else count<false>(a, shared);
}

namespace {

// Exclusive prefix over the thread block of two values each; returns the totals in `total`.
struct Pair {
  uint32_t x, y;
};
__device__ __forceinline__ Pair scan(Pair v, Pair& total, Pair* warps) {
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  Pair inclusive = v;
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) {
    uint32_t x = __shfl_up_sync(~0u, inclusive.x, d), y = __shfl_up_sync(~0u, inclusive.y, d);
    if (lane >= d) {
      inclusive.x += x;
      inclusive.y += y;
    }
  }
  if (lane == 31) warps[warp] = inclusive;
  __syncthreads();
  Pair before{0, 0};
  total = Pair{0, 0};
  for (int w = 0; w < kScanThreads / 32; w++) {
    if (w == warp) before = total;
    total.x += warps[w].x;
    total.y += warps[w].y;
  }
  __syncthreads();
  return Pair{before.x + inclusive.x - v.x, before.y + inclusive.y - v.y};
}

}  // namespace

// A thread block takes kColumns blocks of one head; kSegments threads share the tiles of each.
extern "C" __global__ void __launch_bounds__(kScanThreads) moba_list_scan(const __grid_constant__ ListArguments a) {
  __shared__ uint32_t sums[kSegments][kColumns];
  __shared__ Pair warps[kScanThreads / 32];
  __shared__ bool last;
  int x = threadIdx.x % kColumns, y = threadIdx.x / kColumns;
  int groups = (a.blocksPerHead + kColumns - 1) / kColumns;
  int head = blockIdx.x / groups, b = blockIdx.x % groups * kColumns + x;
  int each = (a.tiles + kSegments - 1) / kSegments, from = min(y * each, a.tiles), to = min(from + each, a.tiles);
  bool live = b < a.blocksPerHead;
  uint32_t* column = a.matrix + static_cast<i64>(head) * a.tiles * a.blocksPerHead + b;
  uint32_t sum = 0;
  if (live) {
#pragma unroll 8
    for (int i = from; i < to; i++) sum += column[static_cast<i64>(i) * a.blocksPerHead];
  }
  sums[y][x] = sum;
  __syncthreads();
  uint32_t before = 0, all = 0;
#pragma unroll
  for (int s = 0; s < kSegments; s++) {
    if (s < y) before += sums[s][x];
    all += sums[s][x];
  }
  if (live) {
#pragma unroll 8
    for (int i = from; i < to; i++) {
      uint32_t* p = column + static_cast<i64>(i) * a.blocksPerHead;
      uint32_t count = *p;
      *p = before;
      before += count;
    }
    if (y == 0) a.counts[static_cast<i64>(head) * a.blocksPerHead + b] = all;
  }

  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(a.ticket, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last) return;
  constexpr int kEach = 8;
  i64 n = static_cast<i64>(a.heads) * a.blocksPerHead;
  Pair running{0, 0};
  for (i64 base = 0; base < n; base += kScanThreads * kEach) {
    i64 at = base + threadIdx.x * kEach;
    uint32_t c[kEach];
    Pair own{0, 0};
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      c[i] = at + i < n ? __ldcg(a.counts + at + i) : 0;
    }
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      own.x += c[i];
      own.y += (c[i] + a.tileRows - 1) / a.tileRows;
    }
    Pair total, at0 = scan(own, total, warps);
    Pair p{running.x + at0.x, running.y + at0.y};
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      if (at + i < n) {
        a.offsets[at + i] = p.x;
        a.tilesBefore[at + i] = p.y;
      }
      p.x += c[i];
      p.y += (c[i] + a.tileRows - 1) / a.tileRows;
    }
    running.x += total.x;
    running.y += total.y;
  }
  if (threadIdx.x == 0) {
    a.offsets[n] = running.x;
    a.tilesBefore[n] = running.y;
    *a.ticket = 0;  // for the next pass over heads
  }
}

namespace {

template <bool kShared>
__device__ __forceinline__ void scatter(const ListArguments& a, uint32_t* shared) {
  Tile tile(a, blockIdx.x);
  uint32_t* stored = tile.stored();
  uint32_t* next = kShared ? shared : stored;  // the place of a block's next entry
  const uint32_t* offsets = a.offsets + static_cast<i64>(tile.head) * a.blocksPerHead;
  uint32_t start = offsets[0];
#pragma unroll 4
  for (int b = tile.lane; b < a.blocksPerHead; b += 32) next[b] = stored[b] + (offsets[b] - start);
  __syncwarp();
  uint32_t* entries = a.entries + tile.head * a.entriesPerHead;
  uint32_t lower = (1u << tile.lane) - 1;
  tile.start();
  for (uint32_t first = tile.from; first < tile.to; first += 32 * kAhead) {
    int block[kAhead];
    tile.load(block);
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      // Lanes of one block take places in the order of lanes, which is that of entries.
      uint32_t same = __match_any_sync(~0u, block[i]);
      bool live = block[i] >= 0;
      uint32_t place = live ? next[block[i]] : 0;
      __syncwarp();
      if (live) {
        entries[place + __popc(same & lower)] = first + i * 32 + tile.lane;
        if ((same & lower) == 0) next[block[i]] = place + __popc(same);
      }
      __syncwarp();
    }
    if (tile.to - first <= 32 * kAhead) break;
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(32) moba_list_scatter(const __grid_constant__ ListArguments a) {
  extern __shared__ uint32_t shared[];
  if (a.shared) scatter<true>(a, shared); else scatter<false>(a, shared);
}
