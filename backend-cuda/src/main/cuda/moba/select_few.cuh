// Selection of at most eight past blocks a row, the usual case; otherwise as select.cuh, which has the rest.
//
// Scores never leave the registers that the tensor cores put them in: a quad of lanes shares a row, and each lane
// keeps the eight best of its own columns of two rows. A score goes into the lane's queue only where it may still
// be among the best of the whole row. Two bounds say where it may not: the eighth best of any of the quad's lanes,
// and the least of their second best, since eight scores reach that. So the lanes' queues together get little more
// than one lane would that saw all columns. The quad's lists become one at the end.
#pragma once
#include "select.cuh"

namespace weft::moba {

template <class E, int DP, int N>
struct SelectFew {
  using L = RowLayout<E, DP>;
  static constexpr int K = 8;
  static constexpr int kWarps = 4, kThreads = kWarps * 32, kRows = kWarps * 16;
  static constexpr bool kQueriesInRegisters = E::kBytes == 2;
  static constexpr int kMeansBytes = N * L::kRowBytes;
  static constexpr int kMeansAt = kQueriesInRegisters ? 0 : kRows * L::kRowBytes;
  static_assert(!kQueriesInRegisters || 2 * N >= kRows, "queries pass through the space of means");
  static constexpr int kColumnTiles = N / 8, kTilesAtOnce = kColumnTiles < 4 ? kColumnTiles : 4;
  static constexpr int kBatch = 2 * kTilesAtOnce;  // scores of a row between two looks at the queues
  static constexpr int kQueue = kBatch * 2 < 8 ? 8 : kBatch * 2;
  static constexpr int kQueueAt = kMeansAt + 2 * kMeansBytes;
  static constexpr int kAbsentAt = kQueueAt + 2 * kQueue * kThreads * 8;
  static constexpr int kSharedBytes = kAbsentAt + 2 * N;

  const ForwardArguments& a;
  char* shared;
  QueryTile tile;
  int lane, warp, head, kvHead;
  Best<K> best[2];
  float bound[2];  // scores below it are not among a row's best
  int queued[2];

  __device__ __forceinline__ SelectFew(const ForwardArguments& a, char* shared)
      : a(a), shared(shared), tile(a, blockIdx.x, kRows), lane(threadIdx.x & 31), warp(threadIdx.x >> 5),
        head(blockIdx.y), kvHead(a.firstHead + head) {}

  __device__ __forceinline__ char* means(int stage) const { return shared + kMeansAt + stage * kMeansBytes; }
  __device__ __forceinline__ unsigned char* absent(int stage) const {
    return reinterpret_cast<unsigned char*>(shared + kAbsentAt) + stage * N;
  }
  // A score and its block. Entries of a warp lie side by side.
  __device__ __forceinline__ float2* queue(int half) const {
    return reinterpret_cast<float2*>(shared + kQueueAt) + half * kQueue * kThreads + threadIdx.x;
  }
  __device__ __forceinline__ bool paged() const { return a.cacheLens != nullptr; }
  __device__ __forceinline__ int rowOf(int half) const { return warp * 16 + half * 8 + (lane >> 2); }

  __device__ __forceinline__ int pastBlocks(int r) const {
    const Sequence& s = tile.sequence;
    return s.keys > 0 ? (tile.token(a, r) + s.shift - s.origin) / a.blockSize : 0;
  }

  __device__ __forceinline__ int* selection(int row) const {
    i64 query = static_cast<i64>(kvHead) * a.group + tile.headInGroup(a, row);
    return a.selection + tile.token(a, row) * a.selectionTokenPitch + query * a.selectionHeadPitch;
  }

  __device__ __forceinline__ void loadMeans(int stage, int from, int to) const {
    if (paged()) {
      for (int r = threadIdx.x; r < N; r += kThreads) {
        absent(stage)[r] = r < to - from && meanAt(a, tile.sequence, from + r).page < 0;
      }
    }
    const char* packed = nullptr;
    if (!paged()) packed = a.means.template row<E>(0, meanAt(a, tile.sequence, from).slot, kvHead);
    i64 pitch = a.means.slotPitch * E::kBytes;
    L::template loadTile<N, kThreads>(
        means(stage), a.means.base, a.dim, a.vector & kVectorMeans, [&](int r) -> const char* {
          if (r >= to - from) return nullptr;
          if (packed != nullptr) return packed + r * pitch;
          Location at = meanAt(a, tile.sequence, from + r);
          return at.page < 0 ? nullptr : a.means.template row<E>(at.page, at.slot, kvHead);
        });
  }

  __device__ __forceinline__ void run() {
    if (tile.count == 0) return;
    int past[2];
#pragma unroll
    for (int half = 0; half < 2; half++) past[half] = rowOf(half) < tile.count ? pastBlocks(rowOf(half)) : 0;
    int most = pastBlocks(tile.count - 1);
    if (most <= a.lists.slots) {  // everything is selected
#pragma unroll
      for (int half = 0; half < 2; half++) {
        if (rowOf(half) < tile.count) {
          int* to = selection(rowOf(half));
          for (int i = lane & 3; i < a.columns; i += 4) to[i] = i < past[half] ? i : -1;
        }
      }
      return;
    }
    i64 firstHead = static_cast<i64>(kvHead) * a.group;
    L::template loadTile<kRows, kThreads>(
        shared, a.q.base, a.dim, a.vector & kVectorQ, [&](int r) -> const char* {
          return r < tile.count ? a.q.template row<E>(tile.token(a, r), firstHead + tile.headInGroup(a, r)) : nullptr;
        });
    uint32_t q[kQueriesInRegisters ? DP / 16 : 1][4];
    if constexpr (kQueriesInRegisters) {
      commitCopies();
      awaitCopies<0>();
      __syncthreads();
#pragma unroll
      for (int c = 0; c < DP / 16; c++) loadA<L::kRowBytes>(q[c], sharedAddress(shared), warp * 16, 2 * c, lane);
      __syncthreads();
    }
    loadMeans(0, 0, most);
    commitCopies();

#pragma unroll
    for (int half = 0; half < 2; half++) {
      best[half].clear();
      bound[half] = kMinusInfinity;
      queued[half] = 0;
    }
    int stage = 0;
    for (int from = 0; from < most; from += N) {
      if (from + N < most) loadMeans(stage ^ 1, from + N, most);
      commitCopies();
      awaitCopies<1>();
      __syncthreads();
      float s[1][kColumnTiles][4];
      score(s, q, stage);
      enqueue(s[0], from, past);
      __syncthreads();
      stage ^= 1;
    }
    awaitCopies<0>();
    drain();
#pragma unroll
    for (int half = 0; half < 2; half++) {
      best[half].mergeWithLane(1);
      best[half].mergeWithLane(2);
      if (rowOf(half) < tile.count) write(half);
    }
  }

  template <int kSteps>
  __device__ __forceinline__ void score(float (&s)[1][kColumnTiles][4], const uint32_t (&q)[kSteps][4], int stage) const {
    if constexpr (kQueriesInRegisters) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; j++) {
#pragma unroll
        for (int e = 0; e < 4; e++) s[0][j][e] = 0;
      }
#pragma unroll
      for (int c = 0; c < kSteps; c++) {
#pragma unroll
        for (int n = 0; n < N / 16; n++) {
          uint32_t b[4];
          loadB<L::kRowBytes>(b, sharedAddress(means(stage)), n * 16, 2 * c, lane);
          multiplyAdd<E>(s[0][2 * n], q[c], b[0], b[1]);
          multiplyAdd<E>(s[0][2 * n + 1], q[c], b[2], b[3]);
        }
      }
    } else {
      scores<E, DP, 1, N>(s, shared, warp * 16, means(stage), a.dim, lane);
    }
    if (paged()) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; j++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          if (absent(stage)[8 * j + 2 * (lane & 3) + (e & 1)]) s[0][j][e] = kMinusInfinity;
        }
      }
    }
  }

  __device__ __forceinline__ void enqueue(const float (&s)[kColumnTiles][4], int from, const int (&past)[2]) {
    int first = from + 2 * (lane & 3);
#pragma unroll
    for (int j = 0; j < kColumnTiles; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int half = e >> 1, block = first + 8 * j + (e & 1);
        // NaN passes: it is the least, but may be needed.
        if (!(s[j][e] < bound[half]) && block < past[half]) {
          queue(half)[queued[half] * kThreads] = make_float2(s[j][e], __int_as_float(block));
          queued[half]++;
        }
      }
      if ((j + 1) % kTilesAtOnce == 0 && __any_sync(~0u, max(queued[0], queued[1]) > kQueue - kBatch)) {
        drain();
#pragma unroll
        for (int half = 0; half < 2; half++) raise(half);
      }
    }
  }

  __device__ __forceinline__ void drain() {
    int longest = __reduce_max_sync(~0u, max(queued[0], queued[1]));
#pragma unroll 1
    for (int i = 0; i < longest; i++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        u64 x = 0;
        if (i < queued[half]) {
          float2 entry = queue(half)[i * kThreads];
          x = static_cast<u64>(ordered(entry.x)) << 32 | static_cast<uint32_t>(~__float_as_int(entry.y));
        }
        best[half].insert(x);
      }
    }
    queued[0] = queued[1] = 0;
  }

  __device__ __forceinline__ void raise(int half) {
    auto score = [](u64 x) { return static_cast<uint32_t>(x >> 32); };
    bool few = a.lists.slots <= 4;  // then four lanes' best are enough
    uint32_t least = few ? score(best[half].at[3]) : score(best[half].at[K - 1]);
    uint32_t shared = few ? score(best[half].at[0]) : score(best[half].at[1]);
#pragma unroll
    for (int d = 1; d < 4; d *= 2) {
      least = max(least, __shfl_xor_sync(~0u, least, d));
      shared = min(shared, __shfl_xor_sync(~0u, shared, d));
    }
    least = max(least, shared);
    if (least != 0) bound[half] = __uint_as_float(least & 0x80000000u ? least & 0x7fffffffu : ~least);
  }

  __device__ __forceinline__ void write(int half) const {
    uint32_t blocks[K];
#pragma unroll
    for (int i = 0; i < K; i++) {
      bool chosen = i < a.lists.slots && best[half].at[i] != 0;
      blocks[i] = chosen ? static_cast<uint32_t>(blockOf(best[half].at[i])) : ~0u;
    }
    sortAscending<K>(blocks);
    int* to = selection(rowOf(half));
#pragma unroll
    for (int i = 0; i < K; i++) {
      if (i < a.columns && (i & 3) == (lane & 3)) to[i] = static_cast<int>(blocks[i]);
    }
    for (int i = K + (lane & 3); i < a.columns; i += 4) to[i] = -1;
  }
};

}  // namespace weft::moba
