// Scores of past blocks and the topK - 1 best of every row (forward.cuh).
//
// A thread block takes 64 query rows of one sequence and meets the means of its past blocks, N at a time, on tensor
// cores. A warp owns 16 rows and keeps its scores to itself, so that only copies need barriers. Two lanes share a
// row, each half of the columns. A lane compares scores with the least of its best and puts those above it into a
// queue; when a queue is nearly full, all lanes of the warp sort theirs into their best, all at once: an insertion
// costs as much as K comparisons, and a queue spares most of what divergence would cost.
//
// A candidate is 64 bits: the score, mapped so that integers compare like floats, then the block's complement, so
// that ties go to the lower block. 0 is none; minus infinity and NaN are the least that there is.
//
// K = 0 takes any number: a heap for each row, in scratch memory.
#pragma once
#include "tiles.cuh"

namespace weft::moba {

using u64 = unsigned long long;

__device__ __forceinline__ uint32_t ordered(float score) {
  uint32_t bits = __float_as_uint(score == score ? score + 0.0f : kMinusInfinity);  // -0 becomes 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ int blockOf(u64 candidate) { return static_cast<int>(~static_cast<uint32_t>(candidate)); }

// The K largest candidates, descending, in registers.
template <int K>
struct Best {
  u64 at[K];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < K; i++) at[i] = 0;
  }
  __device__ __forceinline__ void insert(u64 x) {
#pragma unroll
    for (int i = 0; i < K; i++) {
      u64 high = max(at[i], x);
      x = min(at[i], x);
      at[i] = high;
    }
  }
  // The larger of each pair is a bitonic sequence, so that half a sorter is enough.
  __device__ __forceinline__ void mergeWithLane(int distance) {
    u64 other[K];
#pragma unroll
    for (int i = 0; i < K; i++) other[i] = __shfl_xor_sync(~0u, at[i], distance);
#pragma unroll
    for (int i = 0; i < K; i++) at[i] = max(at[i], other[K - 1 - i]);
    bitonicMerge<K / 2>();
  }
  template <int kDistance>
  __device__ __forceinline__ void bitonicMerge() {
    if constexpr (kDistance > 0) {
#pragma unroll
      for (int i = 0; i < K; i++) {
        if ((i & kDistance) == 0) {
          u64 high = max(at[i], at[i | kDistance]), low = min(at[i], at[i | kDistance]);
          at[i] = high;
          at[i | kDistance] = low;
        }
      }
      bitonicMerge<kDistance / 2>();
    }
  }
};

// Sorts K numbers, ascending.
template <int K>
__device__ __forceinline__ void sortAscending(uint32_t (&x)[K]) {
#pragma unroll
  for (int size = 2; size <= K; size *= 2) {
#pragma unroll
    for (int distance = size / 2; distance > 0; distance /= 2) {
#pragma unroll
      for (int i = 0; i < K; i++) {
        int j = i | distance;
        if ((i & distance) == 0) {
          bool up = (i & size) == 0;
          uint32_t low = min(x[i], x[j]), high = max(x[i], x[j]);
          x[i] = up ? low : high;
          x[j] = up ? high : low;
        }
      }
    }
  }
}

template <class E, int DP, int N, int K>
struct Select {
  using L = RowLayout<E, DP>;
  static constexpr int kWarps = 4, kThreads = kWarps * 32, kRows = kWarps * 16;
  static constexpr int kScorePitch = N + 1;
  static constexpr int kBatch = N / 2 < 8 ? N / 2 : 8, kQueue = K == 0 ? 0 : 2 * kBatch;
  static constexpr int kMeansBytes = N * L::kRowBytes;
  static constexpr int kQueueAt = kRows * L::kRowBytes + 2 * kMeansBytes;
  static constexpr int kScoresAt = kQueueAt + kQueue * kThreads * 8;
  static constexpr int kAbsentAt = kScoresAt + kRows * kScorePitch * 4;
  static constexpr int kSharedBytes = kAbsentAt + 2 * N;

  const ForwardArguments& a;
  char* shared;
  QueryTile tile;
  int lane, warp, half, row;  // row: the lane's, of the tile
  int head, kvHead;

  __device__ __forceinline__ Select(const ForwardArguments& a, char* shared)
      : a(a), shared(shared), tile(a, blockIdx.x, kRows), lane(threadIdx.x & 31), warp(threadIdx.x >> 5),
        half(lane >> 4), row(warp * 16 + (lane & 15)), head(blockIdx.y), kvHead(a.firstHead + head) {}

  __device__ __forceinline__ char* means(int stage) const { return shared + kRows * L::kRowBytes + stage * kMeansBytes; }
  __device__ __forceinline__ float* rowScores(int r) const {
    return reinterpret_cast<float*>(shared + kScoresAt) + r * kScorePitch;
  }
  __device__ __forceinline__ unsigned char* absent(int stage) const {
    return reinterpret_cast<unsigned char*>(shared + kAbsentAt) + stage * N;
  }
  // Queues of a warp lie entry by entry, so that lanes do not conflict.
  __device__ __forceinline__ u64* queue() const { return reinterpret_cast<u64*>(shared + kQueueAt) + threadIdx.x; }

  __device__ __forceinline__ int pastBlocks(int r) const {
    const Sequence& s = tile.sequence;
    return s.keys > 0 ? (tile.token(a, r) + s.shift - s.origin) / a.blockSize : 0;
  }

  __device__ __forceinline__ void loadMeans(int stage, int from, int to) const {
    for (int r = threadIdx.x; r < N; r += kThreads) {
      absent(stage)[r] = r >= to - from || meanAt(a, tile.sequence, from + r).page < 0;
    }
    L::template loadTile<N, kThreads>(
        means(stage), a.means.base, a.dim, a.vector & kVectorMeans, [&](int r) -> const char* {
          if (r >= to - from) return nullptr;
          Location at = meanAt(a, tile.sequence, from + r);
          return at.page < 0 ? nullptr : a.means.template row<E>(at.page, at.slot, kvHead);
        });
  }

  __device__ __forceinline__ int* selection() const {
    i64 query = static_cast<i64>(kvHead) * a.group + tile.headInGroup(a, row);
    return a.selection + tile.token(a, row) * a.selectionTokenPitch + query * a.selectionHeadPitch;
  }

  __device__ __forceinline__ void run() {
    if (tile.count == 0) return;
    int past = row < tile.count ? pastBlocks(row) : 0;  // of the lane's row
    int most = pastBlocks(tile.count - 1);
    if (most <= a.lists.slots) {  // everything is selected
      if (row < tile.count) {
        int* to = selection();
        for (int i = half; i < a.columns; i += 2) to[i] = i < past ? i : -1;
      }
      return;
    }
    i64 firstHead = static_cast<i64>(kvHead) * a.group;
    L::template loadTile<kRows, kThreads>(
        shared, a.q.base, a.dim, a.vector & kVectorQ, [&](int r) -> const char* {
          return r < tile.count ? a.q.template row<E>(tile.token(a, r), firstHead + tile.headInGroup(a, r)) : nullptr;
        });
    loadMeans(0, 0, most);
    commitCopies();

    constexpr int kBest = K == 0 ? 1 : K;
    Best<kBest> best;
    best.clear();
    uint32_t least = 0;  // scores must exceed it
    int queued = 0, stage = 0;
    u64* heap = nullptr;
    if constexpr (K == 0) {
      if (row < tile.count) {
        heap = a.heap + head * a.lists.entriesPerHead +
               (static_cast<i64>(tile.token(a, row)) * a.group + tile.headInGroup(a, row)) * a.lists.slots;
      }
    }
    for (int from = 0; from < most; from += N) {
      if (from + N < most) loadMeans(stage ^ 1, from + N, most);
      commitCopies();
      awaitCopies<1>();
      __syncthreads();
      score(stage);
      if constexpr (K == 0) {
        if (half == 0) heapTile(heap, queued, from, past);
      } else {
        queueTile(best, least, queued, from, past);
      }
      __syncthreads();
      stage ^= 1;
    }
    awaitCopies<0>();
    if constexpr (K == 0) {
      if (half == 0 && row < tile.count) writeHeap(heap, queued);
    } else {
      drain(best, queued);
      best.mergeWithLane(16);
      if (row < tile.count) write(best);
    }
  }

  // Scores of the warp's rows, minus infinity where the mean is absent.
  __device__ __forceinline__ void score(int stage) const {
    float s[1][N / 8][4];
    scores<E, DP, 1, N>(s, shared, warp * 16, means(stage), a.dim, lane);
    int g = lane >> 2, q = lane & 3;
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int column = 8 * j + 2 * q + (e & 1);
        rowScores(warp * 16 + g + (e >> 1) * 8)[column] = absent(stage)[column] ? kMinusInfinity : s[0][j][e];
      }
    }
    __syncwarp();
  }

  template <class B>
  __device__ __forceinline__ void drain(B& best, int& queued) const {
    __syncwarp();
    int longest = __reduce_max_sync(~0u, queued);
    for (int i = 0; i < longest; i++) best.insert(i < queued ? queue()[i * kThreads] : 0);
    queued = 0;
  }

  template <class B>
  __device__ __forceinline__ void queueTile(B& best, uint32_t& least, int& queued, int from, int past) const {
    const float* s = rowScores(row) + half * (N / 2);
    int block = from + half * (N / 2);
#pragma unroll 1
    for (int i = 0; i < N / 2; i += kBatch) {
#pragma unroll
      for (int b = 0; b < kBatch; b++) {
        uint32_t x = ordered(s[i + b]);
        if (block + i + b < past && x > least) {
          queue()[queued * kThreads] = static_cast<u64>(x) << 32 | static_cast<uint32_t>(~(block + i + b));
          queued++;
        }
      }
      if (__any_sync(~0u, queued > kQueue - kBatch)) {
        drain(best, queued);
        least = static_cast<uint32_t>(best.at[K - 1] >> 32);
      }
    }
  }

  template <class B>
  __device__ __forceinline__ void write(const B& best) const {
    uint32_t blocks[K];
#pragma unroll
    for (int i = 0; i < K; i++) {
      bool chosen = i < a.lists.slots && best.at[i] != 0;
      blocks[i] = chosen ? static_cast<uint32_t>(blockOf(best.at[i])) : ~0u;  // ~0 sorts last, and is -1
    }
    sortAscending<K>(blocks);
    int* to = selection();
#pragma unroll
    for (int i = 0; i < K; i++) {
      if (i < a.columns && (i & 1) == half) to[i] = static_cast<int>(blocks[i]);
    }
    for (int i = K + half; i < a.columns; i += 2) to[i] = -1;
  }

  // The least of the best on top.
  __device__ __forceinline__ void heapTile(u64* heap, int& size, int from, int past) const {
    const float* s = rowScores(row);
    for (int i = 0; i < N && from + i < past; i++) {
      u64 x = static_cast<u64>(ordered(s[i])) << 32 | static_cast<uint32_t>(~(from + i));
      if (size < a.lists.slots) {
        int at = size++;
        while (at > 0 && heap[(at - 1) / 2] > x) {
          heap[at] = heap[(at - 1) / 2];
          at = (at - 1) / 2;
        }
        heap[at] = x;
      } else if (x > heap[0]) {
        sink(heap, size, x, [](u64 y) { return y; });
      }
    }
  }

  // Puts x on top and restores the order: keys grow downwards.
  template <class Key>
  __device__ __forceinline__ static void sink(u64* heap, int size, u64 x, Key key) {
    int at = 0;
    while (true) {
      int child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && key(heap[child + 1]) < key(heap[child])) child++;
      if (key(x) <= key(heap[child])) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = x;
  }

  // By block: a heap again, from which blocks leave in ascending order.
  __device__ __forceinline__ void writeHeap(u64* heap, int size) const {
    auto block = [](u64 x) { return blockOf(x); };
    for (int i = 1; i < size; i++) {
      u64 x = heap[i];
      int at = i;
      while (at > 0 && block(heap[(at - 1) / 2]) > block(x)) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
      }
      heap[at] = x;
    }
    int* to = selection();
    int written = 0;
    while (size > 0) {
      to[written++] = block(heap[0]);
      size--;
      if (size > 0) sink(heap, size, heap[size], block);
    }
    for (; written < a.columns; written++) to[written] = -1;
  }
};

}  // namespace weft::moba
