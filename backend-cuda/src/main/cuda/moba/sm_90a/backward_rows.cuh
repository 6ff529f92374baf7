// MoBA backward on Hopper: a thread block keeps 128 rows of queries at a time, of a list (kList) or of the block's own
// (kOwn), and meets the block's keys; their dq goes to scratch, and backward_merge.cuh adds them. backward_wgmma.cuh has
// what it is made of.
#pragma once
#include "backward_wgmma.cuh"

namespace weft::moba {

// A tile of query rows.
struct RowItem {
  int rows;        // 0: there are no more
  int from, to;    // the keys that they meet
  int head;        // counted from the first of this pass
  int part;        // kOwn: of the block's rows
  int same;        // whether the keys are those of the item before and still in their stages
  i64 place;       // kList: where the rows are in the entries of all lists
};

template <class E, int DP, Side kSide>
struct BackwardRows : BackwardWgmma<E, DP, kSide, RowItem> {
  using Base = BackwardWgmma<E, DP, kSide, RowItem>;
  using typename Base::Place;
  using Base::Base, Base::a, Base::s, Base::lane;
  using Base::kRows, Base::kTile, Base::kStages, Base::kBuffers, Base::kXPanel, Base::kYPanel;
  using Base::kLanes, Base::kAtOnce;
  using Base::address, Base::rowOfLane, Base::placeOf, Base::publish, Base::release;
  using Base::scores, Base::gather, Base::round;

  __device__ __forceinline__ void run() { Base::run(*this); }

  // Whether all keys of an item fit the stages, so that the next item, if of the same block, finds them there.
  static __device__ __forceinline__ bool keepsKeys(const RowItem& item) {
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
        Base::template copyKey<kYPanel>(s.y[ring.at][0], s.y[ring.at][1], row, first + row, kvHead, first + row < to);
      }
      hopper::barrier_arrive_after_copies(address(&s.full[ring.at]));
    }
  }

  __device__ __forceinline__ void copyItem(Ring<kBuffers>& buffers, const RowItem& item, const Place& place) {
    hopper::barrier_wait(address(&s.drained[buffers.at]), buffers.parity ^ 1);
    Base::template copyQueries<kRows, kXPanel>(s.x[buffers.at][0], s.x[buffers.at][1], s.stats + buffers.at * kRows, place);
    publish(buffers, item);
  }

  __device__ __forceinline__ void copy() {
    Ring<kStages> ring;
    Ring<kBuffers> buffers;
    if constexpr (kSide == Side::kList) {
      // A tile's rows are looked up while the one before it is copied: each step costs a trip to memory.
      int mine = rowOfLane();
      RowItem item{0, 0, 0, 0, 0, 0, 0};
      uint32_t entry = 0;
      TileWalk walk(a.lists, a.listHead, a.headCount, blockIdx.x, gridDim.x);
      auto look = [&] {
        item.rows = 0;
        if (!walk.live()) return;
        Lists::List list = a.lists.list(walk.head(), walk.block());
        Block block = a.lists.blocks[walk.block()];
        uint32_t place = walk.place();
        const uint32_t* from = list.entries + place;
        item = RowItem{static_cast<int>(min(list.count - place, static_cast<uint32_t>(kRows))), block.start, block.end,
                    walk.head() - a.listHead, 0, 0, from - a.lists.entries};
        if (mine < item.rows) entry = __ldg(from + mine);
        walk.advance();
      };
      look();
      int last = -1, lastHead = -1;  // whose keys lie in the stages
      while (item.rows > 0) {
        RowItem current = item;
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
        RowItem item{rows, block.start, to, head, part, 0, 0};
        copyItem(buffers, item,
                 placeOf(ownRow(a, kvHead, block.start, block.end, static_cast<uint32_t>(first) + rowOfLane())));
        copyKeys(ring, kvHead, item.from, item.to);
      }
    }
    hopper::barrier_wait(address(&s.drained[buffers.at]), buffers.parity ^ 1);
    publish(buffers, RowItem{0, 0, 0, 0, 0, 0, 0});
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

  __device__ __forceinline__ void compute(int warpgroup) {
    Ring<kStages> ring, kept;  // where the next keys come, and where those of the last item are, not yet released
    int held = 0;
    Ring<kBuffers> buffers;
    int m0 = warpgroup * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;  // the thread's rows: this and + 8
    while (true) {
      hopper::barrier_wait(address(&s.filled[buffers.at]), buffers.parity);
      hopper::async_proxy_fence();
      RowItem item = s.items[buffers.at];
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
};

}  // namespace weft::moba
