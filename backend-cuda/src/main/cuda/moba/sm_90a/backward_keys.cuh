// MoBA backward on Hopper: a thread block keeps 128 keys of one block and meets all their rows of queries, those of the
// own block and then the list's. backward_wgmma.cuh has what it is made of.
#pragma once
#include "backward_wgmma.cuh"

namespace weft::moba {

// Some keys and the rows that see them.
struct KeyItem {
  int tiles;       // 0: there are no more
  int start, end;  // tokens; `end` is the block's
  int kvHead;
  int ownTiles;    // tiles of the own block's rows, which come first
  uint32_t ownRows, listRows;
};

template <class E, int DP>
struct BackwardKeys : BackwardWgmma<E, DP, Side::kKeys, KeyItem> {
  using Base = BackwardWgmma<E, DP, Side::kKeys, KeyItem>;
  using typename Base::Place;
  using Base::Base, Base::a, Base::s, Base::lane;
  using Base::kCopyThreads, Base::kRows, Base::kTile, Base::kStages, Base::kBuffers, Base::kXPanel, Base::kYPanel;
  using Base::kLanes, Base::kAtOnce;
  using Base::address, Base::rowOfLane, Base::placeOf, Base::publish, Base::release;
  using Base::scores, Base::gather, Base::round;

  __device__ __forceinline__ void run() { Base::run(*this); }

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
  __device__ __forceinline__ void copy() {
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
      Base::template copyKey<kXPanel>(s.x[buffers.at][0], s.x[buffers.at][1], row, w.start + row, w.kvHead, w.start + row < w.end);
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
      Base::template copyQueries<kTile, kYPanel>(s.y[ring.at][0], s.y[ring.at][1], s.stats + ring.at * kTile, place);
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

  __device__ __forceinline__ void compute(int warpgroup) {
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
};

}  // namespace weft::moba
