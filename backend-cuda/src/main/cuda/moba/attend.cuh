// Attention of a tile of query rows over tiles of keys, and the two kernels that are made of it (forward.cuh):
// Listed, for the rows that selected a block, and Own, for rows and the keys of their own blocks.
//
// Softmax is online and in powers of two: x = scale * log2(e) * (q . k), p = 2^(x - m). Weights are summed
// unrounded. Two stages of keys and values in shared memory: one is computed with while the next one comes.
#pragma once
#include "tiles.cuh"

namespace weft::moba {

template <class E, int DP, int kWarps, int kRowTiles, int N>
struct Attention {
  using L = RowLayout<E, DP>;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kRows = kWarps * kRowTiles * 16;
  static constexpr int kWarpRows = kRowTiles * 16;
  static constexpr int kTileBytes = N * L::kRowBytes;
  static constexpr int kQueryBytes = kRows * L::kRowBytes;
  // Sums of Own, in F32, take the place of all tiles: rows padded against bank conflicts.
  static constexpr int kSumBytes = DP * 4 + 16;
  static constexpr int kTilesBytes = kQueryBytes + 4 * kTileBytes;
  static constexpr int kDataBytes = kTilesBytes > kRows * kSumBytes ? kTilesBytes : kRows * kSumBytes;
  // Then: what each row is, its maximum and sum, and which keys of the two stages are absent.
  static constexpr int kSharedBytes = kDataBytes + kRows * 12 + 2 * N;

  const ForwardArguments& a;
  char* shared;
  int lane, warp;
  float o[kRowTiles][DP / 8][4];
  float maximum[kRowTiles][2], sum[kRowTiles][2];

  __device__ __forceinline__ Attention(const ForwardArguments& a, char* shared)
      : a(a), shared(shared), lane(threadIdx.x & 31), warp(threadIdx.x >> 5) {}

  __device__ __forceinline__ char* queries() const { return shared; }
  __device__ __forceinline__ char* keys(int stage) const { return shared + kQueryBytes + 2 * stage * kTileBytes; }
  __device__ __forceinline__ char* values(int stage) const { return keys(stage) + kTileBytes; }
  __device__ __forceinline__ uint32_t* rowIds() const { return reinterpret_cast<uint32_t*>(shared + kDataBytes); }
  __device__ __forceinline__ float* rowMaxima() const { return reinterpret_cast<float*>(shared + kDataBytes) + kRows; }
  __device__ __forceinline__ float* rowSums() const { return rowMaxima() + kRows; }
  __device__ __forceinline__ unsigned char* absent(int stage) const {
    return reinterpret_cast<unsigned char*>(rowSums() + kRows) + stage * N;
  }
  __device__ __forceinline__ bool paged() const { return a.cacheLens != nullptr; }

  __device__ __forceinline__ void reset() {
#pragma unroll
    for (int m = 0; m < kRowTiles; m++) {
#pragma unroll
      for (int c = 0; c < DP / 8; c++) {
#pragma unroll
        for (int e = 0; e < 4; e++) o[m][c][e] = 0;
      }
      maximum[m][0] = maximum[m][1] = kMinusInfinity;
      sum[m][0] = sum[m][1] = 0;
    }
  }

  // row(i): where row i of the tile lies, or null.
  template <class Row>
  __device__ __forceinline__ void loadQueries(Row row) {
    L::template loadTile<kRows, kThreads>(queries(), a.q.base, a.dim, a.vector & kVectorQ, row);
  }

  // Keys and values at positions [from, to) of a sequence, zeros in what is left of the tile or absent.
  __device__ __forceinline__ void loadKeys(int stage, int sequence, int kvHead, int from, int to) {
    constexpr int kStep = kThreads / L::kChunks;
    int first = threadIdx.x / L::kChunks, chunk = threadIdx.x % L::kChunks;
    int keyBytes = L::chunkBytes(chunk, a.dim), valueBytes = L::chunkBytes(chunk, a.valueDim);
    const char* k = a.k.template row<E>(0, 0, kvHead) + chunk * 16;
    const char* v = a.v.template row<E>(0, 0, kvHead) + chunk * 16;
    char *toKeys = keys(stage), *toValues = values(stage);
    bool keyVector = a.vector & kVectorK, valueVector = a.vector & kVectorV;
    if (!paged()) {
      i64 keyPitch = a.k.slotPitch * E::kBytes, valuePitch = a.v.slotPitch * E::kBytes;
      const char *nextKey = k + (from + first) * keyPitch, *nextValue = v + (from + first) * valuePitch;
#pragma unroll 4
      for (int i = 0; i < N; i += kStep) {
        int r = first + i;
        if (N % kStep != 0 && r >= N) break;
        bool live = r < to - from;
        L::load(toKeys + L::at(r, chunk), live ? nextKey : k, live ? keyBytes : 0, keyVector);
        L::load(toValues + L::at(r, chunk), live ? nextValue : v, live ? valueBytes : 0, valueVector);
        nextKey += kStep * keyPitch;
        nextValue += kStep * valuePitch;
      }
      return;
    }
#pragma unroll 4
    for (int i = 0; i < N; i += kStep) {
      int r = first + i;
      if (N % kStep != 0 && r >= N) break;
      Location at{-1, 0};
      if (r < to - from) at = keyAt(a, sequence, from + r);
      bool live = at.page >= 0;
      if (chunk == 0) absent(stage)[r] = !live;
      i64 key = (at.page * a.k.pagePitch + at.slot * a.k.slotPitch) * E::kBytes;
      i64 value = (at.page * a.v.pagePitch + at.slot * a.v.slotPitch) * E::kBytes;
      L::load(toKeys + L::at(r, chunk), live ? k + key : k, live ? keyBytes : 0, keyVector);
      L::load(toValues + L::at(r, chunk), live ? v + value : v, live ? valueBytes : 0, valueVector);
    }
  }

  // One tile of keys. masked: rows see columns `seen` only, and none that are absent; the same for all threads.
  // kOwn: values of columns that are not seen may be NaN.
  template <bool kOwn>
  __device__ __forceinline__ void step(int stage, bool masked, const Seen (&seen)[kRowTiles][2]) {
    float s[kRowTiles][N / 8][4];
    scores<E, DP, kRowTiles, N>(s, queries(), warp * kWarpRows, keys(stage), a.dim, lane);
    // A negative scale turns minus infinity round, so scores are scaled first.
#pragma unroll
    for (int m = 0; m < kRowTiles; m++) {
#pragma unroll
      for (int j = 0; j < N / 8; j++) {
#pragma unroll
        for (int e = 0; e < 4; e++) s[m][j][e] *= a.scaleLog2;
      }
    }
    if (masked) mask(s, stage, seen);
#pragma unroll
    for (int m = 0; m < kRowTiles; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float highest = maximum[m][half];
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
#pragma unroll
          for (int e = 0; e < 2; e++) {
            highest = fmaxf(highest, s[m][j][2 * half + e]);
          }
        }
        highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 2));
        float base = highest == kMinusInfinity ? 0 : highest;  // nothing seen yet: all weights become 0
        float factor = exp2Approximate(maximum[m][half] - base);
        maximum[m][half] = highest;
        float added = 0;
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
#pragma unroll
          for (int e = 0; e < 2; e++) {
            float& x = s[m][j][2 * half + e];
            x = exp2Approximate(x - base);
            added += x;
          }
        }
        sum[m][half] = sum[m][half] * factor + added;
#pragma unroll
        for (int c = 0; c < DP / 8; c++) {
          o[m][c][2 * half] *= factor;
          o[m][c][2 * half + 1] *= factor;
        }
      }
    }
    if constexpr (E::kBytes == 4) {
      accumulateSeen<E, DP, kRowTiles, N>(o, s, values(stage), a.valueDim, lane, seen);
    } else {
      if constexpr (kOwn) {
        if (masked) {
          bool bad = false;
          for (int i = threadIdx.x; i < kTileBytes / 16; i += kThreads) {
            bad = bad || hasNonFinite<E>(*reinterpret_cast<const uint4*>(values(stage) + i * 16));
          }
          if (__syncthreads_or(bad)) {
            accumulateSeen<E, DP, kRowTiles, N>(o, s, values(stage), a.valueDim, lane, seen);
            return;
          }
        }
      }
      accumulate<E, DP, kRowTiles, N>(o, s, values(stage), lane);
    }
  }

  __device__ __forceinline__ void mask(float (&s)[kRowTiles][N / 8][4], int stage, const Seen (&seen)[kRowTiles][2]) const {
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int column = 8 * j + 2 * (lane & 3) + e;
        bool present = !paged() || !absent(stage)[column];
#pragma unroll
        for (int m = 0; m < kRowTiles; m++) {
          if (!present || !seen[m][0].has(column)) s[m][j][e] = kMinusInfinity;
          if (!present || !seen[m][1].has(column)) s[m][j][2 + e] = kMinusInfinity;
        }
      }
    }
  }

  __device__ __forceinline__ void finishSums() {
#pragma unroll
    for (int m = 0; m < kRowTiles; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float& x = sum[m][half];
        x += __shfl_xor_sync(~0u, x, 1);
        x += __shfl_xor_sync(~0u, x, 2);
      }
    }
  }

  __device__ __forceinline__ int rowOf(int m, int half) const {
    return warp * kWarpRows + m * 16 + half * 8 + (lane >> 2);
  }
};

// ---- rows that selected a block ----------------------------------------------------------------------------------

constexpr uint32_t kNoEntry = ~0u;

template <class E, int DP, int kWarps, int kRowTiles, int N>
struct Listed : Attention<E, DP, kWarps, kRowTiles, N> {
  using Base = Attention<E, DP, kWarps, kRowTiles, N>;
  using L = typename Base::L;
  using Base::a;
  using Base::Base;
  using Base::lane;
  using Base::warp;

  // Lists whose tiles begin at or before a tile; every warp finds the last of them by itself.
  __device__ __forceinline__ i64 listOfTile(uint32_t tile) const {
    i64 low = 0, size = static_cast<i64>(a.headCount) * a.lists.blocksPerHead;
    while (size > 1) {
      i64 step = (size + 31) / 32, at = lane * step;
      int hits = __popc(__ballot_sync(~0u, at < size && __ldg(a.lists.tiles + low + at) <= tile));
      low += (hits - 1) * step;
      size = min(step, size - (hits - 1) * step);
    }
    return low;
  }

  __device__ __forceinline__ void run() {
    uint32_t tiles = a.lists.tileCount();
    for (uint32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) one(tile);
  }

  __device__ __forceinline__ void one(uint32_t tile) {
    i64 list = listOfTile(tile);
    int head = static_cast<int>(list / a.lists.blocksPerHead);
    int number = static_cast<int>(list % a.lists.blocksPerHead);
    auto entries = a.lists.list(head, number);
    uint32_t first = (tile - __ldg(a.lists.tiles + list)) * Base::kRows;
    Block block = a.lists.blocks[number];
    int kvHead = a.firstHead + head;
    uint32_t slots = a.lists.slots, group = a.group;

    __syncthreads();  // the tile before is done with shared memory
    for (int r = threadIdx.x; r < Base::kRows; r += Base::kThreads) {
      this->rowIds()[r] = first + r < entries.count ? __ldg(entries.entries + first + r) : kNoEntry;
    }
    this->loadKeys(0, block.sequence, kvHead, block.start, block.end);
    __syncthreads();
    this->loadQueries([&](int r) -> const char* {
      uint32_t entry = this->rowIds()[r];
      if (entry == kNoEntry) return nullptr;
      uint32_t row = entry / slots, token = row / group;
      return a.q.template row<E>(token, static_cast<i64>(kvHead) * group + (row - token * group));
    });
    commitCopies();

    this->reset();
    bool idle = warp * Base::kWarpRows >= entries.count - first;  // its rows lie behind the list's end
    int stage = 0;
    for (int from = block.start; from < block.end; from += N) {
      int next = from + N;
      if (next < block.end) this->loadKeys(stage ^ 1, block.sequence, kvHead, next, block.end);
      commitCopies();
      awaitCopies<1>();
      __syncthreads();
      Seen all{0, min(N, block.end - from) - 1};
      Seen seen[kRowTiles][2];
#pragma unroll
      for (int m = 0; m < kRowTiles; m++) seen[m][0] = seen[m][1] = all;
      if (!idle) this->template step<false>(stage, all.to < N - 1 || this->paged(), seen);
      __syncthreads();
      stage ^= 1;
    }
    awaitCopies<0>();
    store(head);
  }

  // A warp's results take the place of its own query rows in shared memory, so that rows leave in whole chunks.
  __device__ __forceinline__ void store(int head) {
    this->finishSums();
    char* rows = this->queries();
    int q = lane & 3;
    i64 firstEntry = head * a.lists.entriesPerHead;
#pragma unroll
    for (int m = 0; m < kRowTiles; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int row = this->rowOf(m, half);
        float total = this->sum[m][half];
        float inverse = total == 0 ? 0 : 1 / total;  // 0: every key of the block is absent, or has no weight
#pragma unroll
        for (int c = 0; c < DP / 8; c++) {
          float x = this->o[m][c][2 * half] * inverse, y = this->o[m][c][2 * half + 1] * inverse;
          if constexpr (E::kBytes == 4) {
            *reinterpret_cast<float2*>(rows + L::pairAt(row, c, q)) = make_float2(x, y);
          } else {
            *reinterpret_cast<uint32_t*>(rows + L::pairAt(row, c, q)) = E::narrowPair(x, y);
          }
        }
        uint32_t entry = this->rowIds()[row];
        if (q == 0 && entry != kNoEntry) {
          a.partialLse[firstEntry + entry] = total == 0 ? kMinusInfinity : this->maximum[m][half] + log2f(total);
        }
      }
    }
    __syncwarp();
    for (int i = lane; i < Base::kWarpRows * L::kChunks; i += 32) {
      int row = warp * Base::kWarpRows + i / L::kChunks, chunk = i % L::kChunks;
      uint32_t entry = this->rowIds()[row];
      if (entry != kNoEntry && chunk * L::kPerChunk < a.valueDim) {
        char* to = static_cast<char*>(a.partials) + (firstEntry + entry) * a.valuePitch * E::kBytes + chunk * 16;
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(rows + L::at(row, chunk));
      }
    }
  }
};

// ---- own blocks, and the end ------------------------------------------------------------------------------------

template <class E, int DP, int kWarps, int kRowTiles, int N>
struct Own : Attention<E, DP, kWarps, kRowTiles, N> {
  using Base = Attention<E, DP, kWarps, kRowTiles, N>;
  using L = typename Base::L;
  using Base::a;
  using Base::Base;
  using Base::lane;
  using Base::warp;

  __device__ __forceinline__ void run() {
    QueryTile tile(a, blockIdx.x, Base::kRows);
    if (tile.count == 0) return;
    const Sequence& s = tile.sequence;
    int head = blockIdx.y, kvHead = a.firstHead + head;
    i64 firstHead = static_cast<i64>(kvHead) * a.group;
    this->loadQueries([&](int r) -> const char* {
      return r < tile.count ? a.q.template row<E>(tile.token(a, r), firstHead + tile.headInGroup(a, r)) : nullptr;
    });
    int begin = 0, end = 0;  // positions that any row sees
    if (s.keys > 0) {
      begin = s.ownStart(tile.token(a, 0) + s.shift, a.blockSize);
      end = tile.token(a, tile.count - 1) + s.shift + 1;
      this->loadKeys(0, s.index, kvHead, begin, end);
    }
    commitCopies();

    int low[kRowTiles][2], high[kRowTiles][2];  // positions that a row sees
#pragma unroll
    for (int m = 0; m < kRowTiles; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int row = min(this->rowOf(m, half), tile.count - 1);
        high[m][half] = tile.token(a, row) + s.shift;
        low[m][half] = s.keys > 0 ? s.ownStart(high[m][half], a.blockSize) : 0;
      }
    }
    // Of all rows: warps must agree on what is masked, since masked steps have barriers of their own.
    int highestLow = s.keys > 0 ? s.ownStart(end - 1, a.blockSize) : 0;
    int lowestHigh = tile.token(a, 0) + s.shift;

    this->reset();
    int stage = 0;
    for (int from = begin; from < end; from += N) {
      if (from + N < end) this->loadKeys(stage ^ 1, s.index, kvHead, from + N, end);
      commitCopies();
      awaitCopies<1>();
      __syncthreads();
      Seen seen[kRowTiles][2];
#pragma unroll
      for (int m = 0; m < kRowTiles; m++) {
        seen[m][0] = Seen{low[m][0] - from, high[m][0] - from};
        seen[m][1] = Seen{low[m][1] - from, high[m][1] - from};
      }
      this->template step<true>(stage, from < highestLow || from + N - 1 > lowestHigh || this->paged(), seen);
      __syncthreads();
      stage ^= 1;
    }
    awaitCopies<0>();
    __syncthreads();
    merge(tile, head);
  }

  __device__ __forceinline__ float* sums(int row) const {
    return reinterpret_cast<float*>(this->shared + row * Base::kSumBytes);
  }

  // Adds a row's partial results to its own sums, in slot order, and writes the row. 8 columns a lane.
  __device__ __forceinline__ void merge(const QueryTile& tile, int head) {
    this->finishSums();
    int q = lane & 3;
#pragma unroll
    for (int m = 0; m < kRowTiles; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int row = this->rowOf(m, half);
#pragma unroll
        for (int c = 0; c < DP / 8; c++) {
          *reinterpret_cast<float2*>(sums(row) + c * 8 + q * 2) =
              make_float2(this->o[m][c][2 * half], this->o[m][c][2 * half + 1]);
        }
        if (q == 0) {
          this->rowMaxima()[row] = this->maximum[m][half];
          this->rowSums()[row] = this->sum[m][half];
        }
      }
    }
    __syncwarp();
    constexpr int kLanes = DP / 8, kAtOnce = 32 / kLanes;
    int column = lane % kLanes * 8;
#pragma unroll 1
    for (int i = 0; i < Base::kWarpRows; i += kAtOnce) {
      int row = warp * Base::kWarpRows + i + lane / kLanes;
      if (row < tile.count) one<kLanes>(tile, head, row, column);
    }
  }

  // The lanes of a row call it together; lane j looks at slots j, j + kLanes, ...
  template <int kLanes>
  __device__ __forceinline__ void one(const QueryTile& tile, int head, int row, int column) {
    constexpr int kAhead = 8;
    // Rows of a warp have different numbers of slots: only the row's own lanes wait for each other.
    uint32_t lanes = kLanes == 32 ? ~0u : ((1u << (kLanes & 31)) - 1) << (lane / kLanes * kLanes);
    int j = lane % kLanes;
    i64 token = tile.token(a, row), g = tile.headInGroup(a, row);
    i64 query = static_cast<i64>(a.firstHead + head) * a.group + g;
    int slots = a.lists.slots;
    int* selection = a.selection + token * a.selectionTokenPitch + query * a.selectionHeadPitch;
    i64 entry = head * a.lists.entriesPerHead + (token * a.group + g) * slots;
    auto logSum = [&](int slot) {
      return slot < slots && selection[slot] >= 0 ? __ldg(a.partialLse + entry + slot) : kMinusInfinity;
    };
    float own = this->rowMaxima()[row], first = logSum(j), highest = fmaxf(own, first);
    int count = j < slots && selection[j] >= 0 ? 1 : 0;
    for (int slot = j + kLanes; slot < slots; slot += kLanes) {
      highest = fmaxf(highest, logSum(slot));
      count += selection[slot] >= 0 ? 1 : 0;
    }
#pragma unroll
    for (int d = kLanes / 2; d > 0; d /= 2) {
      highest = fmaxf(highest, __shfl_xor_sync(lanes, highest, d));
      count += __shfl_xor_sync(lanes, count, d);
    }
    float base = highest == kMinusInfinity ? 0 : highest;
    float weight = exp2Approximate(own - base), total = this->rowSums()[row] * weight;
    float x[8];
#pragma unroll
    for (int c = 0; c < 8; c++) x[c] = sums(row)[column + c] * weight;
    const char* partials = static_cast<const char*>(a.partials) + (entry * a.valuePitch + column) * E::kBytes;
    bool live = column < a.valueDim;
    for (int from = 0; from < count; from += kLanes) {
      float weights = exp2Approximate((from == 0 ? first : logSum(from + j)) - base);  // 0 where there is no slot
      for (int i = 0; i < kLanes && from + i < count; i += kAhead) {
        EightColumns<E> chunk[kAhead];
#pragma unroll
        for (int n = 0; n < kAhead; n++) {
          if (live && from + i + n < count) {
            chunk[n].loadAligned(partials + static_cast<i64>(from + i + n) * a.valuePitch * E::kBytes);
          } else {
            chunk[n].zero();
          }
        }
#pragma unroll
        for (int n = 0; n < kAhead; n++) {
          weight = __shfl_sync(lanes, weights, i + n, kLanes);
          total += weight;
          float y[8];
          chunk[n].widen(y);
#pragma unroll
          for (int c = 0; c < 8; c++) x[c] = fmaf(weight, y[c], x[c]);
        }
      }
    }
    // A query of the cache whose own key is absent may see nothing at all.
    bool blind = total == 0 && this->paged() && isAbsent(tile.sequence, static_cast<int>(token));
    float inverse = blind ? 0 : 1 / total;
#pragma unroll
    for (int c = 0; c < 8; c++) x[c] *= inverse;
    write8<E>(a.out.template row<E>(token, query), column, a.valueDim, a.vector & kVectorOut, x);
    if (column == 0) {
      if (a.lse != nullptr) {
        a.lse[token * a.lseTokenPitch + query * a.lseHeadPitch] =
            blind ? kMinusInfinity : (highest + log2f(total)) * 0.69314718055994531f;
      }
      for (int slot = 0; blind && slot < a.columns; slot++) selection[slot] = -1;
    }
  }

  __device__ __forceinline__ bool isAbsent(const Sequence& s, int token) const {
    return s.keys == 0 || pageOf(a, s.index, token + s.shift) < 0;
  }
};

}  // namespace weft::moba
