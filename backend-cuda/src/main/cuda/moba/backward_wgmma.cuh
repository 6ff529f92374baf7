// MoBA backward for F16 and BF16 on Hopper: products of warpgroups (wgmma), up to 128 dimensions, inputs with rows
// of 16 aligned bytes. backward.cuh has the mathematics; other shapes go to backward_mma.cuh.
//
// A thread block is three warpgroups. One copies (cp.async; bulk tensor copies cannot gather rows), two compute, each
// with 64 of the 128 stationary rows X. Streamed tiles Y have 64 rows. S and dP come from shared memory and lie in
// registers; rounded, they are operands there of the products that follow, so that nothing passes through shared
// memory twice. One warpgroup's exponentials hide behind the other's products.
//
// Registers: sums 64 + 64 (keys, 128 dimensions), S and dP 32 + 32. Shared memory for 128 dimensions: X 64 KiB,
// twice, as the next is loaded meanwhile; Y 32 KiB, three stages.
#pragma once
#include "../common/hopper.cuh"
#include "backward_seen.cuh"

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
  static constexpr int kStages = DP == 64 ? 6 : 3;
  static constexpr int kBuffers = 2;
  static constexpr int kXPanel = kRows * 128, kYPanel = kTile * 128;  // bytes
  static constexpr int kXBytes = kPanels * kXPanel, kYBytes = kPanels * kYPanel;
  static constexpr int kStats = kKeySide ? kStages * kTile : kBuffers * kRows;
  static constexpr int kCopyRegisters = 56, kComputeRegisters = 224;

  // What the copying warpgroup tells the others about a tile of query rows.
  struct Item {
    int rows;        // 0: there are no more
    int from, to;    // the keys that they meet
    int head;        // counted from the first of this pass
    int part;        // kOwn: of the block's rows
    int same;        // whether the keys are those of the item before and still in their stages
    i64 place;       // kList: where the rows are in the entries of all lists
  };

  // The same about some keys and the rows that see them.
  struct KeyItem {
    int tiles;       // 0: there are no more
    int start, end;  // tokens; `end` is the block's
    int kvHead;
    int ownTiles;    // tiles of the own block's rows, which come first
    uint32_t ownRows, listRows;
  };

  struct Shared {
    alignas(1024) unsigned char x[kBuffers][2][kXBytes];
    alignas(1024) unsigned char y[kStages][2][kYBytes];
    float2 stats[kStats];
    std::conditional_t<kKeySide, KeyItem, Item> items[kBuffers];
    uint32_t next[2];  // kKeys: work that the copying warpgroup has taken
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

  // Of a tile, each lane looks after one row of queries, so that its place is worked out once and not by every thread
  // that copies a part of it: of 64 rows the lower half of each warp does, of 128 all.
  static __device__ __forceinline__ int rowOfLane() { return threadIdx.x % 32 / 4 * kAtOnce + threadIdx.x / 32 * 4 + threadIdx.x % 4; }

  struct Place {
    const uint16_t *q, *dout;
    const float2* stats;
    bool exists;
  };

  __device__ __forceinline__ Place placeOf(QueryRow r) const {
    i64 token = r.exists() ? r.token : 0, head = r.exists() ? r.head : 0;
    return {static_cast<const uint16_t*>(a.q.base) + token * a.q.tokenPitch + head * a.q.headPitch,
            static_cast<const uint16_t*>(a.dout.base) + token * a.dout.tokenPitch + head * a.dout.headPitch,
            a.stats + token * a.heads + head, r.exists()};
  }

  // A tile of kCount rows, of which each lane has the place of one.
  template <int kCount, int kPanelBytes>
  __device__ __forceinline__ void copyQueries(const void* tileQ, const void* tileDout, float2* stats, const Place& place) {
    uint32_t exists = __ballot_sync(~0u, place.exists);
    if (kCount == 8 * kAtOnce || lane < kCount / kAtOnce * 4) copyAsync8(stats + rowOfLane(), place.stats, place.exists);
#pragma unroll
    for (int i = 0; i < kCount / kAtOnce; i++) {
      int row = i * kAtOnce + threadIdx.x / kLanes, from = i * 4 + lane / kLanes;
      auto q = __shfl_sync(~0u, reinterpret_cast<unsigned long long>(place.q), from);
      auto dout = __shfl_sync(~0u, reinterpret_cast<unsigned long long>(place.dout), from);
      bool live = exists >> from & 1;
      copyRow<kPanelBytes>(address(tileQ), row, reinterpret_cast<const uint16_t*>(q), a.dim, live);
      copyRow<kPanelBytes>(address(tileDout), row, reinterpret_cast<const uint16_t*>(dout), a.valueDim, live);
    }
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

  // The keys of a piece of work and the list of rows that selected their block; nothing where there are no keys.
  __device__ __forceinline__ KeyItem keyItem(uint32_t work, Lists::List& list) const {
    KeyItem w{0, 0, 0, 0, 0, 0, 0};
    uint32_t part = work % a.parts, at = work / a.parts;
    int number = static_cast<int>(at % a.lists.blocksPerHead), head = static_cast<int>(at / a.lists.blocksPerHead);
    Block block = a.lists.blocks[number];
    list = Lists::List{nullptr, 0};
    if (a.lists.slots > 0) list = a.lists.list(a.listHead + head, number);
    i64 first = block.start + static_cast<i64>(part) * kRows;
    if (first >= block.end) return w;
    w.kvHead = a.firstHead + head;
    w.start = static_cast<int>(first);
    w.end = block.end;
    w.ownRows = static_cast<uint32_t>(w.end - w.start) * a.lists.group;
    w.listRows = list.count;
    w.ownTiles = static_cast<int>((static_cast<i64>(w.ownRows) + kTile - 1) / kTile);
    w.tiles = w.ownTiles + static_cast<int>((static_cast<i64>(w.listRows) + kTile - 1) / kTile);
    return w;
  }

  // Thread blocks take work as they become free: lists differ much in length. Who does which decides no result.
  __device__ __forceinline__ void copyForKeys() {
    Ring<kStages> ring;
    Ring<kBuffers> buffers;
    uint32_t all = static_cast<uint32_t>(a.headCount) * a.lists.blocksPerHead * a.parts, work = blockIdx.x;
    for (int turn = 0; work < all; turn ^= 1) {
      uint32_t taken = 0;
      if (threadIdx.x == 0) taken = gridDim.x + atomicAdd(a.ticket, 1u);  // needed only at the end
      Lists::List list;
      KeyItem w = keyItem(work, list);
      if (w.tiles > 0) copyKeyItem(ring, buffers, w, list);
      if (threadIdx.x == 0) s.next[turn] = taken;
      hopper::named_barrier(1, kCopyThreads);
      work = s.next[turn];
    }
    hopper::barrier_wait(address(&s.drained[buffers.at]), buffers.parity ^ 1);
    publish(buffers, KeyItem{0, 0, 0, 0, 0, 0, 0});
  }

  __device__ __forceinline__ void copyKeyItem(Ring<kStages>& ring, Ring<kBuffers>& buffers, const KeyItem& w,
                                              const Lists::List& list) {
    int mine = threadIdx.x / kLanes;
    hopper::barrier_wait(address(&s.drained[buffers.at]), buffers.parity ^ 1);
#pragma unroll 4
    for (int i = 0; i < kRows / kAtOnce; i++) {
      int row = i * kAtOnce + mine;
      copyKey<kXPanel>(s.x[buffers.at][0], s.x[buffers.at][1], row, w.start + row, w.kvHead, w.start + row < w.end);
    }
    publish(buffers, w);
    constexpr uint32_t kNone = ~0u;
    int mineOfTile = rowOfLane();
    auto look = [&](int tile) {
      i64 at = static_cast<i64>(tile - w.ownTiles) * kTile + mineOfTile;
      return at >= 0 && at < list.count && mineOfTile < kTile ? __ldg(list.entries + at) : kNone;
    };
    auto find = [&](int tile, uint32_t entry) {
      QueryRow r{-1, 0, 0};
      if (tile < w.ownTiles) {
        if (mineOfTile < kTile) r = ownRow(a, w.kvHead, w.start, w.end, static_cast<uint32_t>(tile) * kTile + mineOfTile);
      } else if (entry != kNone) {
        r = listedRow(a, w.kvHead, entry);
      }
      return placeOf(r);
    };
    // Entries cost a trip to memory before the addresses are known: they are asked for two tiles ahead.
    uint32_t next = look(1);
    Place place = find(0, look(0));
    for (int tile = 0; tile < w.tiles; tile++) {
      uint32_t after = look(tile + 2);
      hopper::barrier_wait(address(&s.empty[ring.at]), ring.parity ^ 1);
      copyQueries<kTile, kYPanel>(s.y[ring.at][0], s.y[ring.at][1], s.stats + ring.at * kTile, place);
      hopper::barrier_arrive_after_copies(address(&s.full[ring.at]));
      ring.next();
      place = find(tile + 1, next);
      next = after;
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
    hopper::products_wait<0>();
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
    uint32_t weights[kTile / 16][4], slopes[kTile / 16][4];
    round(weights, p);
    round(slopes, dp);
    hopper::products_begin();
    gather(dv, weights, y2);
    gather(dk, slopes, y1);
    hopper::products_commit();
    hopper::products_wait<0>();
    hopper::pin(dk);
    hopper::pin(dv);
  }

  __device__ __forceinline__ void computeForKeys(int warpgroup) {
    Ring<kStages> ring;
    Ring<kBuffers> buffers;
    int firstKey = warpgroup * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;  // of the thread's two, from the item's start
    uint32_t group = a.lists.group;
    uint32_t own[2] = {firstKey * group, (firstKey + 8) * group}, all[2] = {0, 0};
    while (true) {
      hopper::barrier_wait(address(&s.filled[buffers.at]), buffers.parity);
      hopper::async_proxy_fence();
      KeyItem w = s.items[buffers.at];
      if (w.tiles == 0) return;
      float dk[DP / 2], dv[DP / 2];
#pragma unroll
      for (int i = 0; i < DP / 2; i++) dk[i] = dv[i] = 0;
      uint32_t x1 = address(s.x[buffers.at][0]) + warpgroup * 64 * 128, x2 = address(s.x[buffers.at][1]) + warpgroup * 64 * 128;
      for (int tile = 0; tile < w.tiles; tile++, ring.next()) {
        hopper::barrier_wait(address(&s.full[ring.at]), ring.parity);
        hopper::async_proxy_fence();
        if (tile < w.ownTiles) {
          meetQueries<true>(ring.at, x1, x2, dk, dv, static_cast<uint32_t>(tile) * kTile, own, w.ownRows);
          if (tile == w.ownTiles - 1 && __any_sync(~0u, !isFinite(dk) || !isFinite(dv))) {
            QueryRow keys[2];
            int left = w.end - w.start - firstKey;
            asm volatile("" : "+r"(left));  // not to be kept for this during the loop
#pragma unroll
            for (int half = 0; half < 2; half++) keys[half] = QueryRow{left > 8 * half ? w.end - left + 8 * half : -1, w.kvHead, 0};
            sumSeen<E, Side::kKeys>(a, w.kvHead, w.start, w.end, keys, 0, dk, dv);
          }
        } else if (tile == w.tiles - 1) {
          meetQueries<true>(ring.at, x1, x2, dk, dv, static_cast<uint32_t>(tile - w.ownTiles) * kTile, all, w.listRows);
        } else {
          meetQueries<false>(ring.at, x1, x2, dk, dv, 0, all, 0);
        }
        release(ring.at);
      }
      __syncwarp();
      if (lane == 0) hopper::barrier_arrive(address(&s.drained[buffers.at]));
      buffers.next();
#pragma unroll
      for (int half = 0; half < 2; half++) {
        i64 token = static_cast<i64>(w.start) + firstKey + 8 * half;
        if (token < w.end) {
          store(a.dk, token * a.dk.tokenPitch + w.kvHead * a.dk.headPitch, a.vector & kDk, a.dim, half, a.scale, dk);
          store(a.dv, token * a.dv.tokenPitch + w.kvHead * a.dv.headPitch, a.vector & kDv, a.valueDim, half, 1.f, dv);
        }
      }
    }
  }

  // ---- kList and kOwn ------------------------------------------------------------------------------------------

  // Whether all keys of an item fit the stages, so that the next item, if of the same block, finds them there.
  static __device__ __forceinline__ bool keepsKeys(const Item& item) {
    return kSide == Side::kList && item.to - item.from <= kStages * kTile;
  }

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

  __device__ __forceinline__ void copyItem(Ring<kBuffers>& buffers, const Item& item, const Place& place) {
    hopper::barrier_wait(address(&s.drained[buffers.at]), buffers.parity ^ 1);
    copyQueries<kRows, kXPanel>(s.x[buffers.at][0], s.x[buffers.at][1], s.stats + buffers.at * kRows, place);
    publish(buffers, item);
  }

  template <class I>
  __device__ __forceinline__ void publish(Ring<kBuffers>& buffers, const I& item) {
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
      int mine = rowOfLane();
      Item item{0, 0, 0, 0, 0, 0, 0};
      uint32_t entry = 0;
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
        if (mine < item.rows) entry = __ldg(from + mine);
        walk.advance();
      };
      look();
      int last = -1, lastHead = -1;  // whose keys lie in the stages
      while (item.rows > 0) {
        Item current = item;
        int kvHead = a.firstHead + current.head;
        Place place = placeOf(mine < current.rows ? listedRow(a, kvHead, entry) : QueryRow{-1, 0, 0});
        look();
        current.same = keepsKeys(current) && current.head == lastHead && current.from == last;
        last = current.from;
        lastHead = current.head;
        copyItem(buffers, current, place);
        if (!current.same) copyKeys(ring, kvHead, current.from, current.to);
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
        copyItem(buffers, item,
                 placeOf(ownRow(a, kvHead, block.start, block.end, static_cast<uint32_t>(first) + rowOfLane())));
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

  // This warp needs a stage no more.
  __device__ __forceinline__ void release(int stage) {
    __syncwarp();
    if (lane == 0) hopper::barrier_arrive(address(&s.empty[stage]));
  }

  __device__ __forceinline__ void computeForRows(int warpgroup) {
    Ring<kStages> ring, kept;  // where the next keys come, and where those of the last item are, not yet released
    int held = 0;
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
      if (!item.same) {
        for (; held > 0; held--, kept.next()) release(kept.at);
        kept = ring;
      }
      bool keeps = keepsKeys(item);
      Ring<kStages> at = kept;
      for (i64 first = item.from; first < item.to; first += kTile, at.next()) {
        if (!item.same) {
          hopper::barrier_wait(address(&s.full[at.at]), at.parity);
          hopper::async_proxy_fence();
        }
        if (kSide == Side::kOwn || first + kTile > item.to) {
          meetKeys<true>(at.at, x1, x2, dq, stats, static_cast<int>(first), reach);
        } else {
          meetKeys<false>(at.at, x1, x2, dq, stats, 0, reach);
        }
        if (!keeps) release(at.at);
      }
      if constexpr (kSide == Side::kOwn) {
        bool spoiled = false;  // where a row's own numbers are not finite, its gradient cannot be
#pragma unroll
        for (int half = 0; half < 2; half++) spoiled |= row[half].exists() && isfinite(stats[half].x) && isfinite(stats[half].y);
        if (__any_sync(~0u, spoiled && !isFinite(dq))) {
          sumSeen<E, kSide>(a, a.firstHead + item.head, item.from, item.to, row, 0, dq, dq);
        }
      }
      if (!item.same) {
        ring = at;
        held = keeps ? (item.to - item.from + kTile - 1) / kTile : 0;
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
          int group = a.lists.group;
          i64 rows = static_cast<i64>(a.tokens) * group;
          i64 at = static_cast<i64>(row[half].token) * group + row[half].head - (a.firstHead + item.head) * group;
          storePartial(a.ownPartials + (item.head * rows + at) * a.partialPitch, half, dq);
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

  // ---- both ----------------------------------------------------------------------------------------------------

  __device__ __forceinline__ void run() {
    if (threadIdx.x == 0) {
      for (int i = 0; i < kStages; i++) {
        hopper::barrier_init(address(&s.full[i]), kCopyThreads);
        hopper::barrier_init(address(&s.empty[i]), kComputeWarps);
      }
      for (int i = 0; i < kBuffers; i++) {
        hopper::barrier_init(address(&s.filled[i]), kCopyThreads + 1);
        hopper::barrier_init(address(&s.drained[i]), kComputeWarps);
      }
      hopper::barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < kCopyThreads) {
      hopper::give_registers<kCopyRegisters>();
      if constexpr (kKeySide) copyForKeys(); else copyForRows();
      asm volatile("cp.async.wait_all;" ::: "memory");
    } else {
      hopper::take_registers<kComputeRegisters>();
      int warpgroup = threadIdx.x / 128 - 1;
      if constexpr (kKeySide) computeForKeys(warpgroup); else computeForRows(warpgroup);
    }
  }
};

// dq = scale (the own block's partial + those of the selected blocks, in slot order). kMergeLanes threads share a
// row, four columns each at a time; widths are multiples of 8.
constexpr int kMergeThreads = 256, kMergeLanes = 16;

template <class E>
__device__ __forceinline__ void merge(const BackwardArguments& a) {
  constexpr int kQuads = 128 / 4 / kMergeLanes, kSlotsAtOnce = 8;
  int lane = threadIdx.x % kMergeLanes, group = a.lists.group, slots = a.lists.slots;
  i64 rows = static_cast<i64>(a.tokens) * group;
  i64 item = (static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x) / kMergeLanes;
  int head = static_cast<int>(item / rows);
  i64 row = item % rows;
  int token = static_cast<int>(row / group), query = (a.firstHead + head) * group + static_cast<int>(row % group);
  bool exists = head < a.headCount;
  Home home{-1, 0};
  if (exists) home = a.lists.homes[token];
  exists = home.own >= 0;
  float4 sum[kQuads];
#pragma unroll
  for (int i = 0; i < kQuads; i++) {
    int column = 4 * (lane + i * kMergeLanes);
    sum[i] = exists && column < a.dim
                 ? __ldcs(reinterpret_cast<const float4*>(a.ownPartials + (head * rows + row) * a.partialPitch + column))
                 : make_float4(0.f, 0.f, 0.f, 0.f);
  }
  const float* partials = a.partials + (head * a.lists.entriesPerHead + row * slots) * a.partialPitch;
  for (int base = 0; base < slots; base += kMergeLanes) {
    bool live = exists && base + lane < slots && a.selection.block(home, token, query, base + lane) >= 0;
    uint32_t mask = __ballot_sync(~0u, live) >> (threadIdx.x & kMergeLanes);  // of this row, in the low half
    for (int first = 0; first < min(kMergeLanes, slots - base); first += kSlotsAtOnce) {
      float4 v[kSlotsAtOnce][kQuads];
#pragma unroll
      for (int j = 0; j < kSlotsAtOnce; j++) {
#pragma unroll
        for (int i = 0; i < kQuads; i++) {
          int column = 4 * (lane + i * kMergeLanes);
          bool there = mask >> (first + j) & 1 && column < a.dim;
          v[j][i] = there ? __ldcs(reinterpret_cast<const float4*>(partials + static_cast<i64>(base + first + j) * a.partialPitch + column))
                          : make_float4(0.f, 0.f, 0.f, 0.f);
        }
      }
#pragma unroll
      for (int j = 0; j < kSlotsAtOnce; j++) {
        if (!(mask >> (first + j) & 1)) continue;  // adding 0 would turn a -0 around
#pragma unroll
        for (int i = 0; i < kQuads; i++) {
          sum[i].x += v[j][i].x;
          sum[i].y += v[j][i].y;
          sum[i].z += v[j][i].z;
          sum[i].w += v[j][i].w;
        }
      }
    }
  }
  if (!exists) return;
  uint16_t* to = static_cast<uint16_t*>(a.dq.base) + token * a.dq.tokenPitch + query * a.dq.headPitch;
#pragma unroll
  for (int i = 0; i < kQuads; i++) {
    int column = 4 * (lane + i * kMergeLanes);
    if (column >= a.dim) continue;
    uint32_t low = E::narrowPair(sum[i].x * a.scale, sum[i].y * a.scale);
    uint32_t high = E::narrowPair(sum[i].z * a.scale, sum[i].w * a.scale);
    if (a.vector & kDq) {
      *reinterpret_cast<uint32_t*>(to + column) = low;
      *reinterpret_cast<uint32_t*>(to + column + 2) = high;
    } else {
      to[column] = static_cast<uint16_t>(low);
      to[column + 1] = static_cast<uint16_t>(low >> 16);
      to[column + 2] = static_cast<uint16_t>(high);
      to[column + 3] = static_cast<uint16_t>(high >> 16);
    }
  }
}

}  // namespace weft::moba
