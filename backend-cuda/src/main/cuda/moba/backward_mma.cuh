// MoBA backward for F16 and BF16 on tensor cores of any architecture since 8.0 (mma.sync m16n8k16, ldmatrix,
// cp.async). backward.cuh has the mathematics.
//
// A warp owns 16 stationary rows, so that S and dP stay in its registers: their accumulators are, rounded once to
// the storage type, the A operand of the products that follow. Warps share the streamed tile of 32 rows, of which
// there are two: one is computed with while the next is on its way. Shared memory for 128 dimensions: X 64 KiB
// (128 rows), Y 32 KiB; it fits devices with 99 KiB. For 256 dimensions X has 64 rows, Y is one tile, and for kKeys
// two warps share 16 rows, each with half of the columns of the sums, which would not fit the registers of one.
#pragma once
#include "../common/mma.cuh"
#include "backward_seen.cuh"

namespace weft::moba {

template <class E, int DP, Side kSide>
struct BackwardMma {
  static constexpr int kWarps = DP == 256 && kSide != Side::kKeys ? 4 : 8;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kSplit = DP == 256 && kSide == Side::kKeys ? 2 : 1;
  static constexpr int kRows = 16 * kWarps / kSplit;  // stationary
  static constexpr int kTile = 32;                    // streamed
  static constexpr int kStages = DP == 256 ? 1 : 2;   // of the streamed tile
  static constexpr int kRowBytes = 2 * DP;
  static constexpr int kColumns = DP / kSplit;        // of the sums, for a warp
  static constexpr int kLanes = 8;                    // threads that load a row together

  struct Shared {
    alignas(128) uint16_t x[2][kRows * DP];
    alignas(128) uint16_t y[kStages][2][kTile * DP];
    float2 stats[kStages][kTile];
    int reach[kStages][kTile];  // the last token that a streamed query row sees
  };

  const BackwardArguments& a;
  Shared& s;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int m0 = warp / kSplit * 16, column0 = warp % kSplit * kColumns;
  float sum1[kColumns / 8][4];
  float sum2[kSide == Side::kKeys ? kColumns / 8 : 1][4];
  // Of the thread's two stationary rows m0 + lane / 4 and + 8, where these are queries; of keys, their tokens.
  float2 rowStats[2];
  int rowReach[2];

  __device__ __forceinline__ BackwardMma(const BackwardArguments& a, Shared& s) : a(a), s(s) {}

  // Copies a row of `width` elements, zeros behind it, or zeros alone where there is none.
  static __device__ __forceinline__ void loadRow(uint16_t* tile, int row, const void* base, i64 element, int width,
                                                 bool exists, bool vector) {
    const uint16_t* from = static_cast<const uint16_t*>(base) + (exists ? element : 0);
#pragma unroll
    for (int i = 0; i < DP / 8 / kLanes; i++) {
      int chunk = i * kLanes + threadIdx.x % kLanes;
      uint32_t to = swizzled<kRowBytes>(row, chunk);
      bool live = exists && chunk * 8 < width;
      if (vector) {
        copyAsync16(sharedAddress(tile) + to, live ? from + chunk * 8 : static_cast<const uint16_t*>(base), live ? 16 : 0);
      } else {
        uint32_t w[4] = {0, 0, 0, 0};
        if (live) {
#pragma unroll
          for (int j = 0; j < 4; j++) {
            int column = chunk * 8 + 2 * j;
            if (column < width) w[j] = __ldg(from + column);
            if (column + 1 < width) w[j] |= static_cast<uint32_t>(__ldg(from + column + 1)) << 16;
          }
        }
        *reinterpret_cast<uint4*>(reinterpret_cast<char*>(tile) + to) = make_uint4(w[0], w[1], w[2], w[3]);
      }
    }
  }

  __device__ __forceinline__ void loadQuery(uint16_t* tileQ, uint16_t* tileDout, int row, QueryRow r) {
    loadRow(tileQ, row, a.q.base, r.token * a.q.tokenPitch + r.head * a.q.headPitch, a.dim, r.exists(), a.vector & kQ);
    loadRow(tileDout, row, a.dout.base, r.token * a.dout.tokenPitch + r.head * a.dout.headPitch, a.valueDim, r.exists(),
            a.vector & kDout);
  }

  __device__ __forceinline__ void loadKey(uint16_t* tileK, uint16_t* tileV, int row, int token, int kvHead, bool exists) {
    loadRow(tileK, row, a.k.base, token * a.k.tokenPitch + kvHead * a.k.headPitch, a.dim, exists, a.vector & kK);
    loadRow(tileV, row, a.v.base, token * a.v.tokenPitch + kvHead * a.v.headPitch, a.valueDim, exists, a.vector & kV);
  }

  __device__ __forceinline__ float2 statsOf(QueryRow r) const {
    return r.exists() ? __ldg(a.stats + static_cast<i64>(r.token) * a.heads + r.head) : make_float2(0.f, 0.f);
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kColumns / 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        sum1[i][j] = 0;
        if constexpr (kSide == Side::kKeys) sum2[i][j] = 0;
      }
    }
  }

  // One streamed tile. `firstKey` is the token of its first row, where it holds keys.
  template <bool kMasked>
  __device__ __forceinline__ void step(int stage, int firstKey) {
    uint32_t x1 = sharedAddress(s.x[0]), x2 = sharedAddress(s.x[1]);
    uint32_t y1 = sharedAddress(s.y[stage][0]), y2 = sharedAddress(s.y[stage][1]);
    float p[kTile / 8][4], dp[kTile / 8][4];
#pragma unroll
    for (int i = 0; i < kTile / 8; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) p[i][j] = dp[i][j] = 0;
    }
#pragma unroll
    for (int k = 0; k < DP / 16; k++) {
      uint32_t a1[4], a2[4];
      loadA<kRowBytes>(a1, x1, m0, 2 * k, lane);
      loadA<kRowBytes>(a2, x2, m0, 2 * k, lane);
#pragma unroll
      for (int n = 0; n < kTile / 16; n++) {
        uint32_t b[4];
        loadB<kRowBytes>(b, y1, n * 16, 2 * k, lane);
        multiplyAdd<E>(p[2 * n], a1, b[0], b[1]);
        multiplyAdd<E>(p[2 * n + 1], a1, b[2], b[3]);
        loadB<kRowBytes>(b, y2, n * 16, 2 * k, lane);
        multiplyAdd<E>(dp[2 * n], a2, b[0], b[1]);
        multiplyAdd<E>(dp[2 * n + 1], a2, b[2], b[3]);
      }
    }
    // P and dS in place of S and dP.
#pragma unroll
    for (int n = 0; n < kTile / 8; n++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        int column = n * 8 + (lane & 3) * 2 + (j & 1);
        float2 stats;
        bool seen = true;
        if constexpr (kSide == Side::kKeys) {
          stats = s.stats[stage][column];
          if constexpr (kMasked) seen = rowReach[j >> 1] <= s.reach[stage][column];
        } else {
          stats = rowStats[j >> 1];
          if constexpr (kMasked) seen = firstKey + column <= rowReach[j >> 1];
        }
        float weight = exp2Approximate(fmaf(p[n][j], a.scaleLog2, -stats.x));
        float slope = weight * (dp[n][j] - stats.y);
        p[n][j] = seen ? weight : 0.f;
        dp[n][j] = seen ? slope : 0.f;
      }
    }
#pragma unroll
    for (int k = 0; k < kTile / 16; k++) {
      uint32_t weights[4], slopes[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float* d = dp[2 * k + (i >> 1)] + (i & 1) * 2;
        slopes[i] = E::narrowPair(d[0], d[1]);
        if constexpr (kSide == Side::kKeys) {
          const float* w = p[2 * k + (i >> 1)] + (i & 1) * 2;
          weights[i] = E::narrowPair(w[0], w[1]);
        }
      }
#pragma unroll
      for (int c = 0; c < kColumns / 16; c++) {
        uint32_t b[4];
        int chunk = column0 / 8 + 2 * c;
        loadBTransposed<kRowBytes>(b, y1, k * 16, chunk, lane);
        multiplyAdd<E>(sum1[2 * c], slopes, b[0], b[1]);
        multiplyAdd<E>(sum1[2 * c + 1], slopes, b[2], b[3]);
        if constexpr (kSide == Side::kKeys) {
          loadBTransposed<kRowBytes>(b, y2, k * 16, chunk, lane);
          multiplyAdd<E>(sum2[2 * c], weights, b[0], b[1]);
          multiplyAdd<E>(sum2[2 * c + 1], weights, b[2], b[3]);
        }
      }
    }
  }

  template <int kCount>
  static __device__ __forceinline__ auto flat(float (&sum)[kCount][4]) -> float (&)[4 * kCount] {
    return reinterpret_cast<float(&)[4 * kCount]>(sum);
  }

  // Stores the thread's values of one of its rows, times a factor.
  __device__ __forceinline__ void store(const Matrix& to, i64 element, bool vector, int width, int half, float factor,
                                        const float (*sum)[4]) {
    if (!to.base) return;
    uint16_t* row = static_cast<uint16_t*>(to.base) + element;
#pragma unroll
    for (int c = 0; c < kColumns / 8; c++) {
      int column = column0 + c * 8 + (lane & 3) * 2;
      uint32_t pair = E::narrowPair(sum[c][2 * half] * factor, sum[c][2 * half + 1] * factor);
      if (column < width) {
        if (vector && column + 1 < width) {
          *reinterpret_cast<uint32_t*>(row + column) = pair;
        } else {
          row[column] = static_cast<uint16_t>(pair);
          if (column + 1 < width) row[column + 1] = static_cast<uint16_t>(pair >> 16);
        }
      }
    }
  }

  // ---- kKeys ---------------------------------------------------------------------------------------------------

  __device__ __forceinline__ void keys() {
    i64 item = blockIdx.x;
    int part = static_cast<int>(item % a.parts);
    int number = static_cast<int>(item / a.parts % a.lists.blocksPerHead);
    int head = static_cast<int>(item / a.parts / a.lists.blocksPerHead), kvHead = a.firstHead + head;
    Block block = a.lists.blocks[number];
    i64 firstKey = block.start + static_cast<i64>(part) * kRows;
    if (firstKey >= block.end) return;
    int start = static_cast<int>(firstKey);
    Lists::List list{nullptr, 0};
    if (a.lists.slots > 0) list = a.lists.list(a.listHead + head, number);
    uint32_t ownRows = static_cast<uint32_t>(block.end - start) * a.lists.group;
    int ownTiles = static_cast<int>((ownRows + kTile - 1) / kTile);
    int tiles = ownTiles + static_cast<int>((static_cast<i64>(list.count) + kTile - 1) / kTile);

    constexpr int kAtOnce = kThreads / kLanes;
#pragma unroll
    for (int i = 0; i < kRows / kAtOnce; i++) {
      int row = i * kAtOnce + threadIdx.x / kLanes;
      loadKey(s.x[0], s.x[1], row, start + row, kvHead, start + row < block.end);
    }
    rowReach[0] = start + m0 + lane / 4;
    rowReach[1] = rowReach[0] + 8;
    clear();

    int mine = threadIdx.x / kLanes;  // the streamed row that this thread loads a part of
    static_assert(kAtOnce == kTile);
    auto rowOf = [&](int tile) -> QueryRow {
      if (tile < ownTiles) return ownRow(a, kvHead, start, block.end, static_cast<uint32_t>(tile) * kTile + mine);
      uint32_t at = static_cast<uint32_t>(tile - ownTiles) * kTile + mine;
      if (tile >= tiles || at >= list.count) return {-1, 0, 0};
      return listedRow(a, kvHead, __ldg(list.entries + at));
    };
    auto load = [&](int tile, QueryRow row) {
      if (tile < tiles) {
        int stage = tile % kStages;
        loadQuery(s.y[stage][0], s.y[stage][1], mine, row);
        if (threadIdx.x % kLanes == 0) {
          s.stats[stage][mine] = statsOf(row);
          s.reach[stage][mine] = !row.exists() ? kSeesNothing : tile < ownTiles ? row.token : INT32_MAX;
        }
      }
      commitCopies();
    };
    load(0, rowOf(0));
    QueryRow ahead = rowOf(1);
    auto fetch = [&](int tile) {
      load(tile, ahead);
      ahead = rowOf(tile + 1);
    };
    for (int tile = 0; tile < tiles; tile++) {
      awaitCopies<0>();
      __syncthreads();
      if (kStages > 1) fetch(tile + 1);
      bool whole = tile >= ownTiles && tile < tiles - 1;
      if (whole) step<false>(tile % kStages, 0); else step<true>(tile % kStages, 0);
      if (tile == ownTiles - 1 && __any_sync(~0u, !isFinite(flat(sum1)) || !isFinite(flat(sum2)))) {
        QueryRow seen[2];
#pragma unroll
        for (int half = 0; half < 2; half++) seen[half] = QueryRow{rowReach[half] < block.end ? rowReach[half] : -1, kvHead, 0};
        sumSeen<E, Side::kKeys>(a, kvHead, start, block.end, seen, column0, flat(sum1), flat(sum2));
      }
      if (kStages == 1) {
        __syncthreads();
        fetch(tile + 1);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      i64 token = rowReach[half];
      if (token < block.end) {
        store(a.dk, token * a.dk.tokenPitch + kvHead * a.dk.headPitch, a.vector & kDk, a.dim, half, a.scale, sum1);
        store(a.dv, token * a.dv.tokenPitch + kvHead * a.dv.headPitch, a.vector & kDv, a.valueDim, half, 1.f, sum2);
      }
    }
  }

  // ---- kList and kOwn ------------------------------------------------------------------------------------------

  // Meets keys [from, to) of a block with the rows that `rowAt` gives; `reachOf` is the last token that a row sees.
  template <bool kCausal, class RowAt>
  __device__ __forceinline__ void rows(int kvHead, int from, int to, RowAt rowAt) {
    constexpr int kAtOnce = kThreads / kLanes;
#pragma unroll
    for (int i = 0; i < kRows / kAtOnce; i++) {
      int row = i * kAtOnce + threadIdx.x / kLanes;
      loadQuery(s.x[0], s.x[1], row, rowAt(row));
    }
    auto load = [&](int tile) {
      i64 first = from + static_cast<i64>(tile) * kTile;
      if (first < to) {
#pragma unroll
        for (int i = 0; i < kTile / kAtOnce; i++) {
          int row = i * kAtOnce + threadIdx.x / kLanes;
          loadKey(s.y[tile % kStages][0], s.y[tile % kStages][1], row, static_cast<int>(first) + row, kvHead, first + row < to);
        }
      }
      commitCopies();
    };
    load(0);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      QueryRow row = rowAt(m0 + lane / 4 + 8 * half);
      rowStats[half] = statsOf(row);
      rowReach[half] = !row.exists() ? kSeesNothing : kCausal ? row.token : to - 1;
    }
    clear();
    int tiles = (to - from + kTile - 1) / kTile;
    for (int tile = 0; tile < tiles; tile++) {
      awaitCopies<0>();
      __syncthreads();
      if (kStages > 1) load(tile + 1);
      int firstKey = from + tile * kTile;
      if (!kCausal && tile < tiles - 1) step<false>(tile % kStages, firstKey); else step<true>(tile % kStages, firstKey);
      if (kStages == 1) {
        __syncthreads();
        load(tile + 1);
      }
    }
  }

  __device__ __forceinline__ void list() {
    TileWalk walk(a.lists, a.listHead, a.headCount, blockIdx.x, gridDim.x);
    for (; walk.live(); walk.advance()) {
      int listHead = walk.head(), head = listHead - a.listHead, kvHead = a.firstHead + head;
      Lists::List list = a.lists.list(listHead, walk.block());
      uint32_t place = walk.place();
      Block block = a.lists.blocks[walk.block()];
      auto rowAt = [&](int row) -> QueryRow {
        if (place + row >= list.count) return {-1, 0, 0};
        return listedRow(a, kvHead, __ldg(list.entries + place + row));
      };
      __syncthreads();  // the last tile's shared memory is free
      rows<false>(kvHead, block.start, block.end, rowAt);
#pragma unroll
      for (int half = 0; half < 2; half++) {
        QueryRow row = rowAt(m0 + lane / 4 + 8 * half);
        if (row.exists()) {
          float* to = a.partials + (head * a.lists.entriesPerHead + row.entry) * a.partialPitch;
#pragma unroll
          for (int c = 0; c < kColumns / 8; c++) {
            int column = c * 8 + (lane & 3) * 2;
            if (column < a.dim) {
              *reinterpret_cast<float2*>(to + column) = make_float2(sum1[c][2 * half], sum1[c][2 * half + 1]);
            }
          }
        }
      }
    }
  }

  __device__ __forceinline__ void own() {
    i64 item = blockIdx.x;
    int part = static_cast<int>(item % a.parts);
    int number = static_cast<int>(item / a.parts % a.lists.blocksPerHead);
    int head = static_cast<int>(item / a.parts / a.lists.blocksPerHead), kvHead = a.firstHead + head;
    Block block = a.lists.blocks[number];
    i64 first = static_cast<i64>(part) * kRows, all = static_cast<i64>(block.end - block.start) * a.lists.group;
    if (first >= all) return;
    auto rowAt = [&](int row) -> QueryRow {
      return ownRow(a, kvHead, block.start, block.end, static_cast<uint32_t>(first) + row);
    };
    int lastRow = static_cast<int>(min(first + kRows, all) - 1);
    int to = block.start + lastRow / a.lists.group + 1;
    rows<true>(kvHead, block.start, to, rowAt);
    QueryRow mine[2];
    bool spoiled = false;  // where a row's own numbers are not finite, its gradient cannot be
#pragma unroll
    for (int half = 0; half < 2; half++) {
      mine[half] = rowAt(m0 + lane / 4 + 8 * half);
      spoiled |= mine[half].exists() && isfinite(rowStats[half].x) && isfinite(rowStats[half].y);
    }
    if (__any_sync(~0u, spoiled && !isFinite(flat(sum1)))) {
      sumSeen<E, kSide>(a, kvHead, block.start, to, mine, column0, flat(sum1), flat(sum1));
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      QueryRow row = mine[half];
      if (!row.exists()) continue;
      Home home = a.lists.homes[row.token];
      i64 entry = head * a.lists.entriesPerHead +
                  (static_cast<i64>(row.token) * a.lists.group + row.head - kvHead * a.lists.group) * a.lists.slots;
      for (int slot = 0; slot < a.lists.slots; slot++) {
        if (a.selection.block(home, row.token, row.head, slot) < 0) continue;
        const float* from = a.partials + (entry + slot) * a.partialPitch;
#pragma unroll
        for (int c = 0; c < kColumns / 8; c++) {
          int column = c * 8 + (lane & 3) * 2;
          if (column < a.dim) {
            float2 v = __ldcs(reinterpret_cast<const float2*>(from + column));
            sum1[c][2 * half] += v.x;
            sum1[c][2 * half + 1] += v.y;
          }
        }
      }
      store(a.dq, row.token * a.dq.tokenPitch + row.head * a.dq.headPitch, a.vector & kDq, a.dim, half, a.scale, sum1);
    }
  }

  __device__ __forceinline__ void run() {
    if constexpr (kSide == Side::kKeys) keys();
    else if constexpr (kSide == Side::kList) list();
    else own();
  }
};

}  // namespace weft::moba

#define MOBA_BACKWARD(NAME, E, DP, SIDE)                                                                           \
  extern "C" __global__ void __launch_bounds__(weft::moba::BackwardMma<E, DP, SIDE>::kThreads, 1)                  \
      moba_backward_##NAME(const __grid_constant__ weft::moba::BackwardArguments a) {                              \
    using Kernel = weft::moba::BackwardMma<E, DP, SIDE>;                                                           \
    extern __shared__ __align__(128) unsigned char shared[];                                                       \
    Kernel kernel(a, *reinterpret_cast<Kernel::Shared*>(shared));                                                  \
    kernel.run();                                                                                                  \
  }

// Of one element type: NAME is its part of the kernels' names.
#define MOBA_BACKWARD_WIDTH(NAME, E, DP)                                \
  MOBA_BACKWARD(NAME##_keys_##DP, E, DP, weft::moba::Side::kKeys)       \
  MOBA_BACKWARD(NAME##_list_##DP, E, DP, weft::moba::Side::kList)       \
  MOBA_BACKWARD(NAME##_own_##DP, E, DP, weft::moba::Side::kOwn)
#define MOBA_BACKWARD_TYPE(NAME, E) \
  MOBA_BACKWARD_WIDTH(NAME, E, 64) MOBA_BACKWARD_WIDTH(NAME, E, 128) MOBA_BACKWARD_WIDTH(NAME, E, 256)
