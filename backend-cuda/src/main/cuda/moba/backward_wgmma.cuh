// MoBA backward for F16 and BF16 on Hopper: products of warpgroups (wgmma), up to 128 dimensions, inputs with rows
// of 16 aligned bytes. backward.cuh has the mathematics; other shapes go to backward_mma.cuh.
//
// A thread block is three warpgroups. One copies (cp.async; bulk tensor copies cannot gather rows), two compute, each
// with 64 of the 128 stationary rows X. Streamed tiles Y have 64 rows. S and dP come from shared memory and lie in
// registers; rounded, they are operands there of the products that follow, so that nothing passes through shared
// memory twice. One warpgroup's exponentials hide behind the other's products.
//
// Registers: sums 64 + 64 (keys, 128 dimensions), S and dP 32 + 32. Shared memory for 128 dimensions: X 64 KiB,
// twice for rows of queries, whose next tile loads meanwhile; Y 32 KiB, three or four stages.
#pragma once
#include "../common/hopper.cuh"
#include "backward.cuh"

namespace weft::moba {

__device__ __forceinline__ void copyAsync8(const void* to, const void* from, bool live) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(hopper::shared_address(to)), "l"(from),
               "r"(live ? 8 : 0)
               : "memory");
}

template <class E, int DP, Side kSide>
struct BackwardWgmma {
  static constexpr bool kKeySide = kSide == Side::kKeys;
  static constexpr int kThreads = 384, kCopyThreads = 128, kComputeWarps = 8;
  static constexpr int kRows = 128, kTile = 64, kPanels = DP / 64;
  static constexpr int kStages = DP == 64 ? 6 : kKeySide ? 4 : 3;
  static constexpr int kBuffers = kKeySide ? 1 : 2;
  static constexpr int kXPanel = kRows * 128, kYPanel = kTile * 128;  // bytes
  static constexpr int kXBytes = kPanels * kXPanel, kYBytes = kPanels * kYPanel;
  static constexpr int kStats = kKeySide ? kStages * kTile : kBuffers * kRows;
  static constexpr int kCopyRegisters = 40, kComputeRegisters = 232;

  // What the copying warpgroup tells the others about a tile of query rows.
  struct Item {
    int rows;        // 0: there are no more
    int from, to;    // the keys that they meet
    int head;        // counted from the first of this pass
    int part;        // kOwn: of the block's rows
    int padding;
    i64 place;       // kList: where the rows are in the entries of all lists
  };

  struct Shared {
    alignas(1024) unsigned char x[kBuffers][2][kXBytes];
    alignas(1024) unsigned char y[kStages][2][kYBytes];
    float2 stats[kStats];
    Item items[kBuffers];
    uint64_t full[kStages], empty[kStages], filled[kBuffers], drained[kBuffers];
  };

  const BackwardArguments& a;
  Shared& s;
  int lane = threadIdx.x % 32;

  __device__ __forceinline__ BackwardWgmma(const BackwardArguments& a, Shared& s) : a(a), s(s) {}

  // A place in a ring of kCount buffers, and the parity of the barrier that ends its use.
  template <int kCount>
  struct Ring {
    int at = 0;
    uint32_t parity = 0;
    __device__ __forceinline__ void next() {
      if (++at == kCount) {
        at = 0;
        parity ^= 1;
      }
    }
  };

  static __device__ __forceinline__ uint32_t address(const void* p) { return hopper::shared_address(p); }

  // ---- copying -------------------------------------------------------------------------------------------------

  static constexpr int kLanes = 8, kAtOnce = kCopyThreads / kLanes;  // threads of a row, rows at a time

  // This thread's part of a row: chunks of 8 elements, zeros beyond the width or where there is no row.
  template <int kPanelBytes>
  static __device__ __forceinline__ void copyRow(uint32_t tile, int row, const uint16_t* from, int width, bool exists) {
    int chunk = threadIdx.x % kLanes;
    uint32_t to = tile + hopper::swizzled(row, chunk);
#pragma unroll
    for (int panel = 0; panel < kPanels; panel++) {
      int column = panel * 64 + chunk * 8;
      bool live = exists && column < width;
      hopper::copy_async_16(to + panel * kPanelBytes, live ? from + column : from, live ? 16 : 0);
    }
  }

  template <int kPanelBytes>
  __device__ __forceinline__ void copyQuery(const void* tileQ, const void* tileDout, float2* stats, int row, QueryRow r) {
    bool exists = r.exists();
    i64 token = exists ? r.token : 0, head = exists ? r.head : 0;
    copyRow<kPanelBytes>(address(tileQ), row,
                         static_cast<const uint16_t*>(a.q.base) + token * a.q.tokenPitch + head * a.q.headPitch, a.dim, exists);
    copyRow<kPanelBytes>(address(tileDout), row,
                         static_cast<const uint16_t*>(a.dout.base) + token * a.dout.tokenPitch + head * a.dout.headPitch,
                         a.valueDim, exists);
    if (threadIdx.x % kLanes == 0) copyAsync8(stats + row, a.stats + token * a.heads + head, exists);
  }

  template <int kPanelBytes>
  __device__ __forceinline__ void copyKey(const void* tileK, const void* tileV, int row, i64 token, int kvHead, bool exists) {
    if (!exists) token = 0;
    copyRow<kPanelBytes>(address(tileK), row,
                         static_cast<const uint16_t*>(a.k.base) + token * a.k.tokenPitch + kvHead * a.k.headPitch, a.dim, exists);
    copyRow<kPanelBytes>(address(tileV), row,
                         static_cast<const uint16_t*>(a.v.base) + token * a.v.tokenPitch + kvHead * a.v.headPitch, a.valueDim,
                         exists);
  }

  // ---- products ------------------------------------------------------------------------------------------------

  // d = the warpgroup's 64 rows of X times Y^T.
  static __device__ __forceinline__ void scores(float (&d)[kTile / 2], uint32_t x, uint32_t y) {
    uint64_t dx = hopper::descriptor(x), dy = hopper::descriptor(y);
#pragma unroll
    for (int k = 0; k < DP / 16; k++) {
      hopper::product<E, kTile>(d, dx + k / 4 * (kXPanel / 16) + k % 4 * 2, dy + k / 4 * (kYPanel / 16) + k % 4 * 2, k > 0);
    }
  }

  // d += w Y, w rounded in registers.
  static __device__ __forceinline__ void gather(float (&d)[DP / 2], const uint32_t (&w)[kTile / 16][4], uint32_t y) {
#pragma unroll
    for (int k = 0; k < kTile / 16; k++) {
      hopper::product<E, DP, 1>(d, w[k], hopper::transposed_descriptor(y + k * 2048, kYPanel), 1);
    }
  }

  static __device__ __forceinline__ void round(uint32_t (&w)[kTile / 16][4], const float (&d)[kTile / 2]) {
#pragma unroll
    for (int k = 0; k < kTile / 16; k++) {
#pragma unroll
      for (int i = 0; i < 4; i++) w[k][i] = E::narrowPair(d[8 * k + 2 * i], d[8 * k + 2 * i + 1]);
    }
  }

  // Stores the thread's values of one of its rows, times a factor.
  __device__ __forceinline__ void store(const Matrix& to, i64 element, bool pairs, int width, int half, float factor,
                                        const float (&sum)[DP / 2]) {
    if (!to.base) return;
    uint16_t* row = static_cast<uint16_t*>(to.base) + element;
#pragma unroll
    for (int c = 0; c < DP / 8; c++) {
      int column = c * 8 + lane % 4 * 2;
      uint32_t pair = E::narrowPair(sum[4 * c + 2 * half] * factor, sum[4 * c + 2 * half + 1] * factor);
      if (column < width) {
        if (pairs) {
          *reinterpret_cast<uint32_t*>(row + column) = pair;
        } else {
          row[column] = static_cast<uint16_t>(pair);
          row[column + 1] = static_cast<uint16_t>(pair >> 16);
        }
      }
    }
  }

  // ---- kKeys ---------------------------------------------------------------------------------------------------

  struct KeyWork {
    int kvHead, start, end;  // of the keys; `end` is the block's
    Lists::List list;
    uint32_t ownRows;
    int ownTiles, tiles;
  };

  __device__ __forceinline__ bool keyWork(KeyWork& w) const {
    i64 item = blockIdx.x;
    int part = static_cast<int>(item % a.parts);
    int number = static_cast<int>(item / a.parts % a.lists.blocksPerHead);
    int head = static_cast<int>(item / a.parts / a.lists.blocksPerHead);
    Block block = a.lists.blocks[number];
    i64 first = block.start + static_cast<i64>(part) * kRows;
    if (first >= block.end) return false;
    w.kvHead = a.firstHead + head;
    w.start = static_cast<int>(first);
    w.end = block.end;
    w.list = Lists::List{nullptr, 0};
    if (a.lists.slots > 0) w.list = a.lists.list(a.listHead + head, number);
    w.ownRows = static_cast<uint32_t>(w.end - w.start) * a.lists.group;
    w.ownTiles = static_cast<int>((static_cast<i64>(w.ownRows) + kTile - 1) / kTile);
    w.tiles = w.ownTiles + static_cast<int>((static_cast<i64>(w.list.count) + kTile - 1) / kTile);
    return true;
  }

  __device__ __forceinline__ void copyForKeys(const KeyWork& w) {
    int mine = threadIdx.x / kLanes;
#pragma unroll 4
    for (int i = 0; i < kRows / kAtOnce; i++) {
      int row = i * kAtOnce + mine;
      copyKey<kXPanel>(s.x[0][0], s.x[0][1], row, w.start + row, w.kvHead, w.start + row < w.end);
    }
    hopper::barrier_arrive_after_copies(address(&s.filled[0]));
    constexpr int kEach = kTile / kAtOnce;
    constexpr uint32_t kNone = ~0u;
    // Entries one tile ahead, as they cost a trip to memory before the addresses are known.
    uint32_t ahead[kEach];
    auto look = [&](int tile) {
#pragma unroll
      for (int i = 0; i < kEach; i++) {
        i64 at = static_cast<i64>(tile - w.ownTiles) * kTile + i * kAtOnce + mine;
        ahead[i] = at >= 0 && at < w.list.count ? __ldg(w.list.entries + at) : kNone;
      }
    };
    look(0);
    Ring<kStages> ring;
    for (int tile = 0; tile < w.tiles; tile++, ring.next()) {
      hopper::barrier_wait(address(&s.empty[ring.at]), ring.parity ^ 1);
#pragma unroll
      for (int i = 0; i < kEach; i++) {
        int row = i * kAtOnce + mine;
        QueryRow r{-1, 0, 0};
        if (tile < w.ownTiles) {
          r = ownRow(a, w.kvHead, w.start, w.end, static_cast<uint32_t>(tile) * kTile + row);
        } else if (ahead[i] != kNone) {
          r = listedRow(a, w.kvHead, ahead[i]);
        }
        copyQuery<kYPanel>(s.y[ring.at][0], s.y[ring.at][1], s.stats + ring.at * kTile, row, r);
      }
      hopper::barrier_arrive_after_copies(address(&s.full[ring.at]));
      look(tile + 1);
    }
  }

  // One streamed tile of query rows, the first being number `index` of its kind. In a masked tile, the row of number
  // i sees the thread's keys if visible[] <= i < rows.
  template <bool kMasked>
  __device__ __forceinline__ void meetQueries(int stage, uint32_t x1, uint32_t x2, float (&dk)[DP / 2], float (&dv)[DP / 2],
                                              uint32_t index, const uint32_t (&visible)[2], uint32_t rows) {
    uint32_t y1 = address(s.y[stage][0]), y2 = address(s.y[stage][1]);
    float p[kTile / 2], dp[kTile / 2];
    hopper::products_begin();
    scores(p, x1, y1);
    hopper::products_commit();
    scores(dp, x2, y2);
    hopper::products_commit();
    const float4* stats = reinterpret_cast<const float4*>(s.stats + stage * kTile) + lane % 4;
    hopper::products_wait<1>();
    hopper::pin(p);
#pragma unroll
    for (int i = 0; i < kTile / 8; i++) {
      float4 two = stats[4 * i];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float& v = p[4 * i + e];
        v = exp2Approximate(fmaf(v, a.scaleLog2, e & 1 ? -two.z : -two.x));
        if constexpr (kMasked) {
          uint32_t row = index + i * 8 + lane % 4 * 2 + (e & 1);
          if (row < visible[e >> 1] || row >= rows) v = 0;
        }
      }
    }
    uint32_t weights[kTile / 16][4], slopes[kTile / 16][4];
    round(weights, p);
    hopper::products_begin();
    gather(dv, weights, y2);
    hopper::products_commit();
    hopper::products_wait<1>();
    hopper::pin(dp);
#pragma unroll
    for (int i = 0; i < kTile / 8; i++) {
      float4 two = stats[4 * i];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float& v = dp[4 * i + e];
        v = p[4 * i + e] * (v - (e & 1 ? two.w : two.y));
        if constexpr (kMasked) {
          uint32_t row = index + i * 8 + lane % 4 * 2 + (e & 1);
          if (row < visible[e >> 1] || row >= rows) v = 0;
        }
      }
    }
    round(slopes, dp);
    hopper::products_begin();
    gather(dk, slopes, y1);
    hopper::products_commit();
    hopper::products_wait<0>();
    hopper::pin(dk);
    hopper::pin(dv);
  }

  __device__ __forceinline__ void computeForKeys(const KeyWork& w, int warpgroup) {
    float dk[DP / 2], dv[DP / 2];
#pragma unroll
    for (int i = 0; i < DP / 2; i++) dk[i] = dv[i] = 0;
    uint32_t x1 = address(s.x[0][0]) + warpgroup * 64 * 128, x2 = address(s.x[0][1]) + warpgroup * 64 * 128;
    int firstKey = warpgroup * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;  // of the thread's two, from w.start
    uint32_t group = a.lists.group;
    uint32_t own[2] = {firstKey * group, (firstKey + 8) * group}, all[2] = {0, 0};
    hopper::barrier_wait(address(&s.filled[0]), 0);
    Ring<kStages> ring;
    for (int tile = 0; tile < w.tiles; tile++, ring.next()) {
      hopper::barrier_wait(address(&s.full[ring.at]), ring.parity);
      hopper::async_proxy_fence();
      if (tile < w.ownTiles) {
        meetQueries<true>(ring.at, x1, x2, dk, dv, static_cast<uint32_t>(tile) * kTile, own, w.ownRows);
      } else if (tile == w.tiles - 1) {
        meetQueries<true>(ring.at, x1, x2, dk, dv, static_cast<uint32_t>(tile - w.ownTiles) * kTile, all, w.list.count);
      } else {
        meetQueries<false>(ring.at, x1, x2, dk, dv, 0, all, 0);
      }
      __syncwarp();
      if (lane == 0) hopper::barrier_arrive(address(&s.empty[ring.at]));
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      i64 token = static_cast<i64>(w.start) + firstKey + 8 * half;
      if (token < w.end) {
        store(a.dk, token * a.dk.tokenPitch + w.kvHead * a.dk.headPitch, a.vector & kDk, a.dim, half, a.scale, dk);
        store(a.dv, token * a.dv.tokenPitch + w.kvHead * a.dv.headPitch, a.vector & kDv, a.valueDim, half, 1.f, dv);
      }
    }
  }

  // ---- kList and kOwn ------------------------------------------------------------------------------------------

  // The streamed keys of an item's rows.
  __device__ __forceinline__ void copyKeys(Ring<kStages>& ring, int kvHead, int from, int to) {
    int mine = threadIdx.x / kLanes;
    for (i64 first = from; first < to; first += kTile, ring.next()) {
      hopper::barrier_wait(address(&s.empty[ring.at]), ring.parity ^ 1);
#pragma unroll
      for (int i = 0; i < kTile / kAtOnce; i++) {
        int row = i * kAtOnce + mine;
        copyKey<kYPanel>(s.y[ring.at][0], s.y[ring.at][1], row, first + row, kvHead, first + row < to);
      }
      hopper::barrier_arrive_after_copies(address(&s.full[ring.at]));
    }
  }

  template <class RowAt>
  __device__ __forceinline__ void copyItem(Ring<kBuffers>& buffers, const Item& item, RowAt rowAt) {
    hopper::barrier_wait(address(&s.drained[buffers.at]), buffers.parity ^ 1);
    int mine = threadIdx.x / kLanes;
#pragma unroll
    for (int i = 0; i < kRows / kAtOnce; i++) {
      int row = i * kAtOnce + mine;
      copyQuery<kXPanel>(s.x[buffers.at][0], s.x[buffers.at][1], s.stats + buffers.at * kRows, row, rowAt(i, row));
    }
    publish(buffers, item);
  }

  __device__ __forceinline__ void publish(Ring<kBuffers>& buffers, const Item& item) {
    if (threadIdx.x == 0) {
      s.items[buffers.at] = item;
      hopper::barrier_arrive(address(&s.filled[buffers.at]));
    }
    hopper::barrier_arrive_after_copies(address(&s.filled[buffers.at]));
    buffers.next();
  }

  __device__ __forceinline__ void copyForRows() {
    Ring<kStages> ring;
    Ring<kBuffers> buffers;
    if constexpr (kSide == Side::kList) {
      // A tile's rows are looked up while the one before it is copied: each step costs a trip to memory.
      constexpr int kEach = kRows / kAtOnce;
      int mine = threadIdx.x / kLanes;
      Item item{0, 0, 0, 0, 0, 0, 0};
      uint32_t entries[kEach];
      TileWalk walk(a.lists, a.listHead, a.headCount, blockIdx.x, gridDim.x);
      auto look = [&] {
        item.rows = 0;
        if (!walk.live()) return;
        Lists::List list = a.lists.list(walk.head(), walk.block());
        Block block = a.lists.blocks[walk.block()];
        uint32_t place = walk.place();
        const uint32_t* from = list.entries + place;
        item = Item{static_cast<int>(min(list.count - place, static_cast<uint32_t>(kRows))), block.start, block.end,
                    walk.head() - a.listHead, 0, 0, from - a.lists.entries};
#pragma unroll
        for (int i = 0; i < kEach; i++) entries[i] = i * kAtOnce + mine < item.rows ? __ldg(from + i * kAtOnce + mine) : 0;
        walk.advance();
      };
      look();
      while (item.rows > 0) {
        Item current = item;
        int kvHead = a.firstHead + current.head;
        QueryRow rows[kEach];
#pragma unroll
        for (int i = 0; i < kEach; i++) {
          rows[i] = i * kAtOnce + mine < current.rows ? listedRow(a, kvHead, entries[i]) : QueryRow{-1, 0, 0};
        }
        look();
        copyItem(buffers, current, [&](int i, int) { return rows[i]; });
        copyKeys(ring, kvHead, current.from, current.to);
      }
    } else {
      i64 items = static_cast<i64>(a.headCount) * a.lists.blocksPerHead * a.parts;
      for (i64 i = blockIdx.x; i < items; i += gridDim.x) {
        int part = static_cast<int>(i % a.parts);
        int number = static_cast<int>(i / a.parts % a.lists.blocksPerHead);
        int head = static_cast<int>(i / a.parts / a.lists.blocksPerHead), kvHead = a.firstHead + head;
        Block block = a.lists.blocks[number];
        i64 first = static_cast<i64>(part) * kRows, all = static_cast<i64>(block.end - block.start) * a.lists.group;
        if (first >= all) continue;
        int rows = static_cast<int>(min(all - first, static_cast<i64>(kRows)));
        int to = block.start + static_cast<int>((first + rows - 1) / a.lists.group) + 1;
        Item item{rows, block.start, to, head, part, 0, 0};
        copyItem(buffers, item, [&](int, int row) -> QueryRow {
          return ownRow(a, kvHead, block.start, block.end, static_cast<uint32_t>(first) + row);
        });
        copyKeys(ring, kvHead, item.from, item.to);
      }
    }
    hopper::barrier_wait(address(&s.drained[buffers.at]), buffers.parity ^ 1);
    publish(buffers, Item{0, 0, 0, 0, 0, 0, 0});
  }

  // One streamed tile of keys, the first being token `first`. In a masked tile, a row sees keys up to reach[].
  template <bool kMasked>
  __device__ __forceinline__ void meetKeys(int stage, uint32_t x1, uint32_t x2, float (&dq)[DP / 2],
                                           const float2 (&stats)[2], int first, const int (&reach)[2]) {
    uint32_t y1 = address(s.y[stage][0]), y2 = address(s.y[stage][1]);
    float p[kTile / 2], dp[kTile / 2];
    hopper::products_begin();
    scores(p, x1, y1);
    hopper::products_commit();
    scores(dp, x2, y2);
    hopper::products_commit();
    hopper::products_wait<1>();
    hopper::pin(p);
#pragma unroll
    for (int i = 0; i < kTile / 2; i++) p[i] = exp2Approximate(fmaf(p[i], a.scaleLog2, -stats[i >> 1 & 1].x));
    hopper::products_wait<0>();
    hopper::pin(dp);
#pragma unroll
    for (int i = 0; i < kTile / 2; i++) {
      dp[i] = p[i] * (dp[i] - stats[i >> 1 & 1].y);
      if constexpr (kMasked) {
        if (first + i / 4 * 8 + lane % 4 * 2 + (i & 1) > reach[i >> 1 & 1]) dp[i] = 0;
      }
    }
    uint32_t slopes[kTile / 16][4];
    round(slopes, dp);
    hopper::products_begin();
    gather(dq, slopes, y1);
    hopper::products_commit();
    hopper::products_wait<0>();
    hopper::pin(dq);
  }

  __device__ __forceinline__ void computeForRows(int warpgroup) {
    Ring<kStages> ring;
    Ring<kBuffers> buffers;
    int m0 = warpgroup * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;  // the thread's rows: this and + 8
    while (true) {
      hopper::barrier_wait(address(&s.filled[buffers.at]), buffers.parity);
      hopper::async_proxy_fence();
      Item item = s.items[buffers.at];
      if (item.rows == 0) return;
      float2 stats[2];
      int reach[2];
      uint32_t entry[2] = {0, 0};
      QueryRow row[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int m = m0 + 8 * half;
        bool exists = m < item.rows;
        stats[half] = s.stats[buffers.at * kRows + m];
        if constexpr (kSide == Side::kList) {
          reach[half] = exists ? item.to - 1 : kSeesNothing;
          if (exists) entry[half] = __ldg(a.lists.entries + item.place + m);
        } else {
          uint32_t index = static_cast<uint32_t>(item.part) * kRows + m, group = a.lists.group, t = index / group;
          row[half] = QueryRow{exists ? item.from + static_cast<int>(t) : -1,
                               (a.firstHead + item.head) * a.lists.group + static_cast<int>(index - t * group), 0};
          reach[half] = exists ? row[half].token : kSeesNothing;
        }
      }
      uint32_t x1 = address(s.x[buffers.at][0]) + warpgroup * 64 * 128, x2 = address(s.x[buffers.at][1]) + warpgroup * 64 * 128;
      float dq[DP / 2];
#pragma unroll
      for (int i = 0; i < DP / 2; i++) dq[i] = 0;
      for (i64 first = item.from; first < item.to; first += kTile, ring.next()) {
        hopper::barrier_wait(address(&s.full[ring.at]), ring.parity);
        hopper::async_proxy_fence();
        if (kSide == Side::kOwn || first + kTile > item.to) {
          meetKeys<true>(ring.at, x1, x2, dq, stats, static_cast<int>(first), reach);
        } else {
          meetKeys<false>(ring.at, x1, x2, dq, stats, 0, reach);
        }
        __syncwarp();
        if (lane == 0) hopper::barrier_arrive(address(&s.empty[ring.at]));
      }
      __syncwarp();
      if (lane == 0) hopper::barrier_arrive(address(&s.drained[buffers.at]));
      buffers.next();
#pragma unroll
      for (int half = 0; half < 2; half++) {
        if (m0 + 8 * half >= item.rows) continue;
        if constexpr (kSide == Side::kList) {
          storePartial(a.partials + (item.head * a.lists.entriesPerHead + entry[half]) * a.partialPitch, half, dq);
        } else {
          addPartials(item.head, row[half], half, dq);
          store(a.dq, row[half].token * a.dq.tokenPitch + row[half].head * a.dq.headPitch, a.vector & kDq, a.dim, half,
                a.scale, dq);
        }
      }
    }
  }

  __device__ __forceinline__ void storePartial(float* to, int half, const float (&dq)[DP / 2]) {
#pragma unroll
    for (int c = 0; c < DP / 8; c++) {
      int column = c * 8 + lane % 4 * 2;
      if (column < a.dim) {
        __stcs(reinterpret_cast<float2*>(to + column), make_float2(dq[4 * c + 2 * half], dq[4 * c + 2 * half + 1]));
      }
    }
  }

  // Adds the partials of a row's slots, in their order. The four lanes of the row ask for the slots together.
  __device__ __forceinline__ void addPartials(int head, QueryRow row, int half, float (&dq)[DP / 2]) {
    if (a.lists.slots == 0) return;
    Home home = a.lists.homes[row.token];
    i64 entry = head * a.lists.entriesPerHead +
                (static_cast<i64>(row.token) * a.lists.group + row.head - (a.firstHead + head) * a.lists.group) * a.lists.slots;
    uint32_t quad = 0xfu << (lane & 28);
    for (int base = 0; base < a.lists.slots; base += 32) {
      uint32_t live = 0;
      for (int slot = base + lane % 4; slot < min(base + 32, a.lists.slots); slot += 4) {
        if (a.selection.block(home, row.token, row.head, slot) >= 0) live |= 1u << (slot - base);
      }
      live |= __shfl_xor_sync(quad, live, 1);
      live |= __shfl_xor_sync(quad, live, 2);
      while (live != 0) {
        int slot = base + __ffs(live) - 1;
        live &= live - 1;
        const float* from = a.partials + (entry + slot) * a.partialPitch;
#pragma unroll
        for (int c = 0; c < DP / 8; c++) {
          int column = c * 8 + lane % 4 * 2;
          if (column < a.dim) {
            float2 v = __ldcs(reinterpret_cast<const float2*>(from + column));
            dq[4 * c + 2 * half] += v.x;
            dq[4 * c + 2 * half + 1] += v.y;
          }
        }
      }
    }
  }

  // ---- both ----------------------------------------------------------------------------------------------------

  __device__ __forceinline__ void run() {
    KeyWork work;
    if constexpr (kKeySide) {
      if (!keyWork(work)) return;
    }
    if (threadIdx.x == 0) {
      for (int i = 0; i < kStages; i++) {
        hopper::barrier_init(address(&s.full[i]), kCopyThreads);
        hopper::barrier_init(address(&s.empty[i]), kComputeWarps);
      }
      for (int i = 0; i < kBuffers; i++) {
        hopper::barrier_init(address(&s.filled[i]), kKeySide ? kCopyThreads : kCopyThreads + 1);
        hopper::barrier_init(address(&s.drained[i]), kComputeWarps);
      }
      hopper::barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < kCopyThreads) {
      hopper::give_registers<kCopyRegisters>();
      if constexpr (kKeySide) copyForKeys(work); else copyForRows();
      asm volatile("cp.async.wait_all;" ::: "memory");
    } else {
      hopper::take_registers<kComputeRegisters>();
      int warpgroup = threadIdx.x / 128 - 1;
      if constexpr (kKeySide) computeForKeys(work, warpgroup); else computeForRows(warpgroup);
    }
  }
};

}  // namespace weft::moba
