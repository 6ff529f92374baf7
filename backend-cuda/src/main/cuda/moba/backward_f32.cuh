// MoBA backward for F32: F32 products on the ordinary units, with the views of backward.cuh. Written for exactness
// and any layout, not for speed: a thread block of 256 holds kRows stationary and kTile streamed rows in shared
// memory; neighbouring threads share a stationary row, each with some of its products and columns.
#pragma once
#include "backward.cuh"

namespace weft::moba {

template <int DP, int kRows, Side kSide>
struct BackwardF32 {
  static constexpr int kThreads = 256;
  static constexpr int kTile = kRows;
  static constexpr int kLanes = kThreads / kRows;         // threads of a stationary row
  static constexpr int kEach = kTile / kLanes;            // products of a thread
  static constexpr int kQuads = DP / 4 / kLanes;          // columns of a thread, by four
  static constexpr int kPitch = DP + 4;                   // rows of one column fall into different banks

  static constexpr float kUnseen = -1;                    // instead of a weight

  struct Shared {
    alignas(16) float x[2][kRows * kPitch];
    alignas(16) float y[2][kTile * kPitch];
    float p[kRows][kTile + 1], ds[kRows][kTile + 1];
    float2 stats[kTile];
    int reach[kTile];
  };

  const BackwardArguments& a;
  Shared& s;
  int mine = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  float4 sum1[kQuads], sum2[kSide == Side::kKeys ? kQuads : 1];
  float2 rowStats;
  int rowReach;

  __device__ __forceinline__ BackwardF32(const BackwardArguments& a, Shared& s) : a(a), s(s) {}

  __device__ __forceinline__ void loadRow(float* tile, const Matrix& m, i64 token, i64 head, int width, bool exists) {
    const float* from = static_cast<const float*>(m.base) + (exists ? token * m.tokenPitch + head * m.headPitch : 0);
    for (int i = lane; i < DP; i += kLanes) tile[mine * kPitch + i] = exists && i < width ? __ldg(from + i) : 0.f;
  }
  __device__ __forceinline__ void loadQuery(float (*tile)[kRows * kPitch], QueryRow r) {
    loadRow(tile[0], a.q, r.token, r.head, a.dim, r.exists());
    loadRow(tile[1], a.dout, r.token, r.head, a.valueDim, r.exists());
  }
  __device__ __forceinline__ void loadKey(float (*tile)[kRows * kPitch], i64 token, int kvHead, bool exists) {
    loadRow(tile[0], a.k, token, kvHead, a.dim, exists);
    loadRow(tile[1], a.v, token, kvHead, a.valueDim, exists);
  }
  __device__ __forceinline__ float2 statsOf(QueryRow r) const {
    return r.exists() ? __ldg(a.stats + static_cast<i64>(r.token) * a.heads + r.head) : make_float2(0.f, 0.f);
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kQuads; i++) {
      sum1[i] = make_float4(0, 0, 0, 0);
      if constexpr (kSide == Side::kKeys) sum2[i] = make_float4(0, 0, 0, 0);
    }
  }

  static __device__ __forceinline__ void add(float& sum, float4 x, float4 y) {
    sum = fmaf(x.x, y.x, fmaf(x.y, y.y, fmaf(x.z, y.z, fmaf(x.w, y.w, sum))));
  }
  static __device__ __forceinline__ void add(float4& sum, float w, float4 y) {
    sum.x = fmaf(w, y.x, sum.x);
    sum.y = fmaf(w, y.y, sum.y);
    sum.z = fmaf(w, y.z, sum.z);
    sum.w = fmaf(w, y.w, sum.w);
  }
  static __device__ __forceinline__ float4 quad(const float* row, int at) {
    return *reinterpret_cast<const float4*>(row + 4 * at);
  }

  // The streamed tile is loaded; `firstKey` is the token of its first row, where it holds keys.
  __device__ __forceinline__ void step(int firstKey) {
    float p[kEach], dp[kEach];
#pragma unroll
    for (int i = 0; i < kEach; i++) p[i] = dp[i] = 0;
#pragma unroll 4
    for (int d = 0; d < DP / 4; d++) {
      float4 x1 = quad(s.x[0] + mine * kPitch, d), x2 = quad(s.x[1] + mine * kPitch, d);
#pragma unroll
      for (int i = 0; i < kEach; i++) {
        int row = lane + i * kLanes;
        add(p[i], x1, quad(s.y[0] + row * kPitch, d));
        add(dp[i], x2, quad(s.y[1] + row * kPitch, d));
      }
    }
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      int row = lane + i * kLanes;
      bool keys = kSide == Side::kKeys;
      float2 stats = keys ? s.stats[row] : rowStats;
      bool seen = keys ? rowReach <= s.reach[row] : firstKey + row <= rowReach;
      float weight = exp2Approximate(fmaf(p[i], a.scaleLog2, -stats.x));
      s.p[mine][row] = seen ? weight : kUnseen;
      s.ds[mine][row] = weight * (dp[i] - stats.y);
    }
    __syncthreads();
#pragma unroll 2
    for (int row = 0; row < kTile; row++) {
      float ds = s.ds[mine][row], weight = s.p[mine][row];
      if (weight == kUnseen) continue;  // 0 times NaN is NaN
#pragma unroll
      for (int i = 0; i < kQuads; i++) {
        add(sum1[i], ds, quad(s.y[0] + row * kPitch, lane + i * kLanes));
        if constexpr (kSide == Side::kKeys) add(sum2[i], weight, quad(s.y[1] + row * kPitch, lane + i * kLanes));
      }
    }
  }

  // Calls each(column, value) for the thread's columns below a width.
  template <class Each>
  __device__ __forceinline__ void columns(float4 (&sum)[kQuads], int width, Each each) {
#pragma unroll
    for (int i = 0; i < kQuads; i++) {
      int column = 4 * (lane + i * kLanes);
      float* v[4] = {&sum[i].x, &sum[i].y, &sum[i].z, &sum[i].w};
#pragma unroll
      for (int j = 0; j < 4; j++) {
        if (column + j < width) each(column + j, *v[j]);
      }
    }
  }

  __device__ __forceinline__ void store(const Matrix& m, i64 token, i64 head, int width, float factor, float4 (&sum)[kQuads]) {
    if (!m.base) return;
    float* to = static_cast<float*>(m.base) + token * m.tokenPitch + head * m.headPitch;
    columns(sum, width, [&](int column, float& v) { to[column] = v * factor; });
  }

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
    i64 ownTiles = (static_cast<i64>(ownRows) + kTile - 1) / kTile;
    i64 tiles = ownTiles + (static_cast<i64>(list.count) + kTile - 1) / kTile;
    loadKey(s.x, start + mine, kvHead, start + mine < block.end);
    rowReach = start + mine;
    clear();
    for (i64 tile = 0; tile < tiles; tile++) {
      QueryRow row{-1, 0, 0};
      bool own = tile < ownTiles;
      if (own) {
        row = ownRow(a, kvHead, start, block.end, static_cast<uint32_t>(tile * kTile) + mine);
      } else {
        uint32_t at = static_cast<uint32_t>((tile - ownTiles) * kTile) + mine;
        if (at < list.count) row = listedRow(a, kvHead, __ldg(list.entries + at));
      }
      __syncthreads();
      loadQuery(s.y, row);
      if (lane == 0) {
        s.stats[mine] = statsOf(row);
        s.reach[mine] = !row.exists() ? kSeesNothing : own ? row.token : INT32_MAX;
      }
      __syncthreads();
      step(0);
    }
    if (rowReach < block.end) {
      store(a.dk, rowReach, kvHead, a.dim, a.scale, sum1);
      if constexpr (kSide == Side::kKeys) store(a.dv, rowReach, kvHead, a.valueDim, 1.f, sum2);
    }
  }

  // Meets keys [from, to) of a block with the thread's row.
  __device__ __forceinline__ void rows(int kvHead, int from, int to, QueryRow row, int reach) {
    __syncthreads();
    loadQuery(s.x, row);
    rowStats = statsOf(row);
    rowReach = reach;
    clear();
    for (i64 first = from; first < to; first += kTile) {
      __syncthreads();
      loadKey(s.y, first + mine, kvHead, first + mine < to);
      __syncthreads();
      step(static_cast<int>(first));
    }
  }

  __device__ __forceinline__ void list() {
    TileWalk walk(a.lists, a.listHead, a.headCount, blockIdx.x, gridDim.x);
    for (; walk.live(); walk.advance()) {
      int listHead = walk.head(), head = listHead - a.listHead, kvHead = a.firstHead + head;
      Lists::List list = a.lists.list(listHead, walk.block());
      uint32_t place = walk.place() + mine;
      Block block = a.lists.blocks[walk.block()];
      QueryRow row{-1, 0, 0};
      if (place < list.count) row = listedRow(a, kvHead, __ldg(list.entries + place));
      rows(kvHead, block.start, block.end, row, row.exists() ? block.end - 1 : kSeesNothing);
      if (row.exists()) {
        float* to = a.partials + (head * a.lists.entriesPerHead + row.entry) * a.partialPitch;
        columns(sum1, a.dim, [&](int column, float& v) { to[column] = v; });
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
    QueryRow row = ownRow(a, kvHead, block.start, block.end, static_cast<uint32_t>(first) + mine);
    int lastRow = static_cast<int>(min(first + kRows, all) - 1);
    rows(kvHead, block.start, block.start + lastRow / a.lists.group + 1, row, row.exists() ? row.token : kSeesNothing);
    if (!row.exists()) return;
    Home home = a.lists.homes[row.token];
    i64 entry = head * a.lists.entriesPerHead +
                (static_cast<i64>(row.token) * a.lists.group + row.head - kvHead * a.lists.group) * a.lists.slots;
    for (int slot = 0; slot < a.lists.slots; slot++) {
      if (a.selection.block(home, row.token, row.head, slot) < 0) continue;
      const float* from = a.partials + (entry + slot) * a.partialPitch;
      columns(sum1, a.dim, [&](int column, float& v) { v += from[column]; });
    }
    store(a.dq, row.token, row.head, a.dim, a.scale, sum1);
  }

  __device__ __forceinline__ void run() {
    if constexpr (kSide == Side::kKeys) keys();
    else if constexpr (kSide == Side::kList) list();
    else own();
  }
};

}  // namespace weft::moba
