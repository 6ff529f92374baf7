// Sorts slots (token * topK + k) by expert, stably: where each goes follows from counts alone, so it never depends on
// who runs first. Writes what is asked for of: the permutation (local slots by expert, then ascending), its inverse,
// the counts of all experts, where each local expert's rows start, and the tile lists (experts.cuh).
//
// Up to 4096 slots, one block does it all: each of 32 warps counts the experts of a run of slots, 32 at a time,
// lanes with the same expert finding one another by match, and each slot keeps how many before it in the run have its
// expert; the counts of the warps are summed expert by expert, those of the experts scanned; then every slot's place is
// known. A warp reads its slots once, all at once.
//
// Of those, up to 128 without counts or tile lists to write take a shorter way: a slot's place is how many slots come
// before it, and an expert's start how many have lower experts; a thread counts each by looking at all of them.
//
// Beyond: moe_sort_count counts by blocks of 1024 slots, moe_sort_scan sums and scans in one block, moe_sort_place
// places as above, 8 warps to a block.
//
// E is at most 1024: a thread of the scanning block owns an expert.
#include "../common/overlap.cuh"
#include "experts.cuh"

namespace weft {
namespace {

constexpr int kScanThreads = 1024;
constexpr int kScanWarps = kScanThreads / 32;
constexpr int kBlockThreads = 256;
constexpr int kBlockWarps = kBlockThreads / 32;
constexpr int kBlockSlots = 1024;
constexpr int kRunOfOneBlock = 4;
constexpr int kMostExperts = 1024;
constexpr int kFewSlots = 128;
constexpr unsigned kAll = 0xffffffffu;

struct SortArguments {
  const int* ids;         // [tokens, topK]
  const int* tokenCount;  // null, or [1]: counted from before firstToken
  int* permutation;       // the rest may be null: not wanted
  int* inverse;
  int* counts;
  int* offsets;           // [local experts + 1]; always wanted by moe_sort_place
  int4* projectTiles;
  int4* downTiles;
  int* blockCounts;       // [blocks, E]: first counts, then where a block's slots of an expert start within it
  int* zeroed;            // [zeroedCount] that become 0
  i64 idPitch;
  int firstToken;
  int tokens;
  int topK;
  int slots;
  int experts;
  int firstExpert;
  int localExperts;
  int projectRows;
  int downRows;
  int fillsTail;
  int blocks;
  int zeroedCount;
};

// The expert of a slot, or -1. Without a branch that depends on the slot before the load, so that several are under way
// at once; ids of tokens that are not present may be read.
__device__ __forceinline__ int expertOf(const SortArguments& a, int slot, int present) {
  int inside = min(slot, a.slots - 1);
  int token = inside / a.topK;
  int id = a.slots > 0 ? a.ids[token * a.idPitch + (inside - token * a.topK)] : -1;
  return slot < a.slots && token < present && id >= 0 && id < a.experts ? id : -1;
}

__device__ __forceinline__ bool isLocal(const SortArguments& a, int expert) {
  return expert >= a.firstExpert && expert < a.firstExpert + a.localExperts;
}

// A warp's run of slots: lane l has slots from + 32 i + l. Their experts are asked for all at once and kept.
template <int kMost>
struct Run {
  int from;
  int to;
  int expert[kMost];
  int before[kMost];  // slots of the run before this one with its expert, once they are counted

  // At most 32 kMost slots.
  __device__ __forceinline__ Run(const SortArguments& a, int from, int to, int present) : from(from), to(to) {
#pragma unroll
    for (int i = 0; i < kMost; i++) {
      int slot = from + i * 32 + static_cast<int>(threadIdx.x % 32);
      int e = expertOf(a, slot, present);
      expert[i] = slot < to ? e : -1;
    }
  }

  // Adds the run to a warp's counters. All lanes call it.
  template <class Counter>
  __device__ __forceinline__ void count(Counter* counters) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kMost; i++) {
      if (from + i * 32 >= to) return;
      unsigned same = __match_any_sync(kAll, expert[i]);
      int earlier = expert[i] >= 0 ? counters[expert[i]] : 0;
      before[i] = earlier + __popc(same & ((1u << lane) - 1));
      __syncwarp();
      if (expert[i] >= 0 && lane == __ffs(same) - 1) {
        counters[expert[i]] = static_cast<Counter>(earlier + __popc(same));
      }
      __syncwarp();
    }
  }

  // Places the run, which was counted; counters hold where its first slot of each expert goes, less start(expert).
  // put(row, slot) is called for each row.
  template <class Counter, class Start, class Put>
  __device__ __forceinline__ void place(const SortArguments& a, const Counter* counters, Start start, Put put) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kMost; i++) {
      const int slot = from + i * 32 + lane;
      const int e = expert[i];
      int row = -1;
      if (e >= 0 && isLocal(a, e)) {
        row = start(e) + counters[e] + before[i];
        put(row, slot);
      }
      if (a.inverse != nullptr && slot < to) a.inverse[slot] = row;
    }
  }
};

// The sum of the values of all threads before this one, of kScanThreads; total: of all. `warps` has kScanWarps ints.
__device__ __forceinline__ int scan(int value, int* warps, int& total) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  int sum = value;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    int other = __shfl_up_sync(kAll, sum, d);
    if (lane >= d) sum += other;
  }
  __syncthreads();  // `warps` may still be read from the scan before
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  int through = warps[lane];  // of the warps up to number `lane`
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    int other = __shfl_up_sync(kAll, through, d);
    if (lane >= d) through += other;
  }
  total = __shfl_sync(kAll, through, 31);
  return __shfl_sync(kAll, through, warp) - warps[warp] + sum - value;
}

struct ScanShared {
  int warps[kScanWarps];
  int start[kMostExperts + 1];  // sorted row at which a local expert starts
  int tile[kMostExperts + 1];   // and its first tile
};

// Writes a tile list from shared.start. All threads of a block of kScanThreads call it.
__device__ __forceinline__ void listTiles(ScanShared& s, int4* list, int rows, int localExperts) {
  const int e = threadIdx.x;
  int count = e < localExperts ? s.start[e + 1] - s.start[e] : 0;
  int total;
  int first = scan((count + rows - 1) / rows, s.warps, total);
  if (e < localExperts) s.tile[e] = first;
  __syncthreads();
  if (e == 0) list[0] = make_int4(total, 0, 0, 0);
  for (int j = threadIdx.x; j < total; j += kScanThreads) {
    int low = 0, high = localExperts;  // the last expert whose first tile is at most j; ones without tiles precede it
    while (high - low > 1) {
      int middle = (low + high) / 2;
      if (s.tile[middle] <= j) low = middle; else high = middle;
    }
    list[j + 1] = make_int4(low, s.start[low], s.start[low + 1], s.tile[low]);
  }
  __syncthreads();
}

// From the count of expert threadIdx.x, in [0, E): counts, starts, offsets, tile lists, the permutation's tail.
__device__ __forceinline__ void finishScan(const SortArguments& a, ScanShared& s, int count) {
  const int e = threadIdx.x;
  if (a.counts != nullptr && e < a.experts) a.counts[e] = count;
  for (int i = e; i < a.zeroedCount; i += kScanThreads) a.zeroed[i] = 0;
  // Thread i takes the local expert i from the thread that counted it.
  s.tile[e] = count;
  __syncthreads();
  int local = e < a.localExperts ? s.tile[a.firstExpert + e] : 0;
  int total;
  int start = scan(local, s.warps, total);
  if (e < a.localExperts) s.start[e] = start;
  if (e == 0) s.start[a.localExperts] = total;
  __syncthreads();
  if (a.offsets != nullptr) {
    if (e < a.localExperts) a.offsets[e] = start;
    if (e == 0) a.offsets[a.localExperts] = total;
  }
  if (a.projectTiles != nullptr) listTiles(s, a.projectTiles, a.projectRows, a.localExperts);
  if (a.downTiles != nullptr) listTiles(s, a.downTiles, a.downRows, a.localExperts);
  if (a.fillsTail && a.permutation != nullptr) {
    for (int p = total + threadIdx.x; p < a.slots; p += kScanThreads) a.permutation[p] = -1;
  }
}

// At most kFewSlots slots, by a block of kScanThreads.
__device__ __forceinline__ void sortFew(const SortArguments& a, int present) {
  __shared__ __align__(16) int order[kFewSlots];  // by local expert, then slot; slots without one come last
  const int t = threadIdx.x;
  constexpr int kLast = kMostExperts * kFewSlots;
  if (t < kFewSlots) {
    int e = expertOf(a, t, present);
    order[t] = (e >= 0 && isLocal(a, e) ? (e - a.firstExpert) * kFewSlots : kLast) + t;
  }
  for (int i = t; i < a.zeroedCount; i += kScanThreads) a.zeroed[i] = 0;
  __syncthreads();
  auto before = [&](int place) {
    int count = 0;
    for (int i = 0; i < a.slots; i += 4) {
      int4 four = *reinterpret_cast<const int4*>(order + i);
      count += (four.x < place) + (four.y < place) + (four.z < place) + (four.w < place);
    }
    return count;
  };
  if (t < a.slots) {
    const bool local = order[t] < kLast;
    const int row = before(order[t]);
    if (a.permutation != nullptr) {
      if (local) {
        a.permutation[row] = t;
      } else if (a.fillsTail) {
        a.permutation[row] = -1;
      }
    }
    if (a.inverse != nullptr) a.inverse[t] = local ? row : -1;
  }
  if (a.offsets != nullptr && t >= kFewSlots) {
    for (int e = t - kFewSlots; e <= a.localExperts; e += kScanThreads - kFewSlots) {
      a.offsets[e] = before(e * kFewSlots);
    }
  }
}

}  // namespace

// One block; shared memory: [32, E] counters.
extern "C" __global__ void __launch_bounds__(kScanThreads, 1) moe_sort_one_block(__grid_constant__ const SortArguments a) {
  wait_for_predecessor();
  allow_successor();
  extern __shared__ unsigned short counters[];
  __shared__ ScanShared s;
  __shared__ unsigned short placed[kScanThreads * kRunOfOneBlock];  // the slot of each row
  const int warp = threadIdx.x / 32;
  const int present = presentTokens(a.tokenCount, a.firstToken, a.tokens);
  if (a.slots <= kFewSlots && a.counts == nullptr && a.projectTiles == nullptr && a.downTiles == nullptr) {
    sortFew(a, present);
    return;
  }
  const int run = (a.slots + kScanThreads - 1) / kScanThreads * 32;  // slots of a warp, at most 32 kRunOfOneBlock
  const int warps = run == 0 ? 0 : (a.slots + run - 1) / run;
  const int from = min(warp * run, a.slots);
  const int to = min(from + run, a.slots);
  unsigned short* own = counters + warp * a.experts;
  Run<kRunOfOneBlock> slots(a, from, to, present);  // asked for before there is something else to wait for
  for (int i = threadIdx.x; i < warps * a.experts; i += kScanThreads) counters[i] = 0;
  __syncthreads();
  slots.count(own);
  __syncthreads();
  int count = 0;
  if (threadIdx.x < a.experts) {
    unsigned short* column = counters + threadIdx.x;
    for (int w = 0; w < warps; w += 8) {  // loads first: they do not wait for one another
      int c[8];
#pragma unroll
      for (int i = 0; i < 8; i++) c[i] = w + i < warps ? column[(w + i) * a.experts] : 0;
#pragma unroll
      for (int i = 0; i < 8; i++) {
        if (w + i < warps) column[(w + i) * a.experts] = static_cast<unsigned short>(count);
        count += c[i];
      }
    }
  }
  finishScan(a, s, count);
  __syncthreads();
  if (a.permutation == nullptr && a.inverse == nullptr) return;
  // By way of shared memory, so that rows are written in order.
  slots.place(
      a, own, [&](int expert) { return s.start[expert - a.firstExpert]; },
      [&](int row, int slot) { placed[row] = static_cast<unsigned short>(slot); });
  if (a.permutation == nullptr) return;
  __syncthreads();
  for (int row = threadIdx.x; row < s.start[a.localExperts]; row += kScanThreads) a.permutation[row] = placed[row];
}

// A block for each 1024 slots.
extern "C" __global__ void __launch_bounds__(kBlockThreads) moe_sort_count(__grid_constant__ const SortArguments a) {
  wait_for_predecessor();
  allow_successor();
  __shared__ int counters[kMostExperts];
  const int present = presentTokens(a.tokenCount, a.firstToken, a.tokens);
  for (int e = threadIdx.x; e < a.experts; e += kBlockThreads) counters[e] = 0;
  __syncthreads();
  const int first = blockIdx.x * kBlockSlots + threadIdx.x;
  int expert[kBlockSlots / kBlockThreads];
#pragma unroll
  for (int i = 0; i < kBlockSlots / kBlockThreads; i++) expert[i] = expertOf(a, first + i * kBlockThreads, present);
#pragma unroll
  for (int i = 0; i < kBlockSlots / kBlockThreads; i++) {
    unsigned same = __match_any_sync(kAll, expert[i]);
    if (expert[i] >= 0 && static_cast<int>(threadIdx.x % 32) == __ffs(same) - 1) {
      atomicAdd(&counters[expert[i]], __popc(same));  // whole numbers: any order
    }
  }
  __syncthreads();
  for (int e = threadIdx.x; e < a.experts; e += kBlockThreads) a.blockCounts[i64{blockIdx.x} * a.experts + e] = counters[e];
}

// One block.
extern "C" __global__ void __launch_bounds__(kScanThreads, 1) moe_sort_scan(__grid_constant__ const SortArguments a) {
  wait_for_predecessor();
  allow_successor();
  __shared__ ScanShared s;
  int count = 0;
  if (threadIdx.x < a.experts) {
    int* column = a.blockCounts + threadIdx.x;
    int b = 0;
    for (; b + 8 <= a.blocks; b += 8) {
      int c[8];
#pragma unroll
      for (int i = 0; i < 8; i++) c[i] = column[i64{b + i} * a.experts];
#pragma unroll
      for (int i = 0; i < 8; i++) {
        column[i64{b + i} * a.experts] = count;
        count += c[i];
      }
    }
    for (; b < a.blocks; b++) {
      int c = column[i64{b} * a.experts];
      column[i64{b} * a.experts] = count;
      count += c;
    }
  }
  finishScan(a, s, count);
}

// A block for each 1024 slots.
extern "C" __global__ void __launch_bounds__(kBlockThreads) moe_sort_place(__grid_constant__ const SortArguments a) {
  wait_for_predecessor();
  allow_successor();
  __shared__ int counters[kBlockWarps][kMostExperts];
  if (a.permutation == nullptr && a.inverse == nullptr) return;
  const int warp = threadIdx.x / 32;
  const int present = presentTokens(a.tokenCount, a.firstToken, a.tokens);
  for (int i = threadIdx.x; i < kBlockWarps * kMostExperts; i += kBlockThreads) (&counters[0][0])[i] = 0;
  __syncthreads();
  const int run = kBlockSlots / kBlockWarps;
  const int from = min(static_cast<int>(blockIdx.x) * kBlockSlots + warp * run, a.slots);
  const int to = min(from + run, a.slots);
  Run<kBlockSlots / kBlockThreads> slots(a, from, to, present);
  slots.count(counters[warp]);
  __syncthreads();
  for (int e = threadIdx.x; e < a.experts; e += kBlockThreads) {
    int sum = a.blockCounts[i64{blockIdx.x} * a.experts + e];
    if (isLocal(a, e)) sum += a.offsets[e - a.firstExpert];
    for (int w = 0; w < kBlockWarps; w++) {
      int c = counters[w][e];
      counters[w][e] = sum;
      sum += c;
    }
  }
  __syncthreads();
  slots.place(
      a, counters[warp], [](int) { return 0; },
      [&](int row, int slot) {
        if (a.permutation != nullptr) a.permutation[row] = slot;
      });
}

}  // namespace weft
