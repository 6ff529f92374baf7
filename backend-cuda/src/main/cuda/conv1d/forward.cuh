// Causal conv1d, forward: packed sequences, states in and out, one launch, no host read.
//
// Work. A thread owns V neighbouring channels (16 bytes where alignment allows) and walks a tile of `tile`
// tokens; the window of the last W-1 rows, the taps and the bias stay in registers as F32. The grid is flat,
// blockIdx.x = tile * columns + column, so that the blocks of one token tile run together: full rows, and the
// W-1 rows before a tile are in L2. kAhead rows are in flight per thread before they are needed: 96 bytes at
// 16 bytes a row, 4 blocks of 128 threads per multiprocessor, 48 KiB. They travel through shared memory, so that
// they cost no registers; a tile's sequences follow each other in one ring without a pause, and the rows that
// become a sequence's new state travel beside them, as do the W-1 rows before the tile.
//
// Tiles are short, about 15 rows. Blocks start in order, so what is read and written at a time lies close together,
// which memory rewards (the same copy in tiles of 63 rows takes 3 % longer), and the last wave is nearly full.
//
// What the first 32 sequences own (slot, initial state or not) is asked for together with their starts, by a lane each:
// the search, the slot and the flag do not wait for one another. A kernel of its own (kSteps) is for batches that decode,
// one token a sequence: its tiles, of few tokens, guess that sequence t has token t, and where that is so all their states
// are on their way at once (steps.cuh). In the one kernel that code costs other batches up to 0.6 us.
//
// Owner rule. A tile boundary inside the first W-1 tokens of a sequence moves to their end. So the block that
// starts a sequence is the only one that reads its state, and the same one writes the new state (from the last
// rows of x): slots are updated in place without a second launch.
//
// Empty sequences own no token; extra blocks write their initialStatesOut, where that is asked for.
#pragma once
#include "../common/ring.cuh"
#include "../common/sequences.cuh"
#include "math.cuh"
#include "states.cuh"
#include "steps.cuh"

namespace weft {

struct ForwardArguments {  // as Conv1dArguments.java writes it
  const void* x;
  void* out;
  const float* weights;
  const int* cu;
  const int* cacheIndices;        // null: no states
  const uint8_t* hasInitial;
  const int* positions;           // null: states shift; else they are rings
  States states;
  States initialOut;              // base null: not asked for
  i64 xPitch, outPitch, weightPitch, slots;
  int tokens, sequences, stateColumns;
  int tile, tiles, columns, padSlot;
  int silu, width, xType, stateType;
  int emptyPerTile, channels;
};

// kSteps: the states are read and written, shift, have W-1 columns and can be reached by rows or packed, nothing else is
// asked for, and tiles have at most kMostSteps tokens.
template <class E, int W, int V, bool kSteps>
struct Forward {
  static constexpr bool kRing = E::kBytes * V == 16;
  static constexpr int kAhead = rowsAhead(W, kRing ? 6 : 3);
  // Rows taken at once, so that their arithmetic interleaves: from a ring W-1 or a multiple, see rowsAhead.
  static constexpr int kTogether = kRing ? (W == 3 ? 2 : 3) : kAhead % 3 == 0 ? 3 : 1;
  // Rows of 16 bytes read ahead through shared memory, narrower ones in registers.
  using Ahead = std::conditional_t<kRing, RowsInRing<E, V, kAhead, kThreads>, RowsInRegisters<E, V, kAhead>>;
  const ForwardArguments& a;
  int c;

  // What a sequence has of the states, as the caller gave it: nothing waits for the loads before it is looked at.
  struct Owned {
    int slot, isFilled;
  };

  __device__ __forceinline__ Owned ownedBy(int s) const {
    return a.cacheIndices ? Owned{__ldg(a.cacheIndices + s), __ldg(a.hasInitial + s)} : Owned{-1, 0};
  }

  // The slot, or -1 if the sequence is skipped.
  __device__ __forceinline__ i64 slotOf(const Owned& owned) const {
    return owned.slot == a.padSlot || owned.slot < 0 || owned.slot >= a.slots ? -1 : owned.slot;
  }

  __device__ __forceinline__ static Owned ofLane(const Owned& owned, int lane) {
    return {__shfl_sync(0xffffffffu, owned.slot, lane), __shfl_sync(0xffffffffu, owned.isFilled, lane)};
  }

  __device__ __forceinline__ void history(int s, const Owned& owned, i64 slot, Row<E, V> (&h)[W - 1]) const {
    if (!owned.isFilled) {
#pragma unroll
      for (int j = 0; j < W - 1; j++) h[j].zero();
      return;
    }
    Columns<E, W, V> columns(a.states, slot, c, a.stateType);
    if (a.positions) {
      i64 n = __ldg(a.positions + s);
#pragma unroll
      for (int j = 0; j < W - 1; j++) h[j] = columns.get(ringColumn(n - (W - 1) + j, a.stateColumns));
    } else {
      columns.history(a.stateColumns - (W - 1), h);
    }
  }

  __device__ __forceinline__ Row<E, V> stateRow(int token) const {
    Row<E, V> row;
    row.template load<true>(a.x, token * a.xPitch + c, a.xType);
    return row.converted(a.xType, a.stateType);
  }

  // Writes what a sequence of tokens [start, end) leaves behind; h is what it started from.
  __device__ __forceinline__ void keep(int s, const Owned& owned, i64 slot, int start, int end, const Row<E, V> (&h)[W - 1]) const {
    int length = end - start, size = a.stateColumns;
    Columns<E, W, V> columns(a.states, slot, c, a.stateType);
    if (a.positions) {
      i64 n = __ldg(a.positions + s);
      for (int i = max(0, length - size); i < length; i++) columns.put(ringColumn(n + i, size), stateRow(start + i));
      if (!owned.isFilled) {
        Row<E, V> none;
        none.zero();
        for (int i = length; i < size; i++) columns.put(ringColumn(n + i, size), none);
      }
    } else if (size == W - 1) {
      Row<E, V> last[W - 1];
#pragma unroll
      for (int j = 0; j < W - 1; j++) last[j] = h[j];
#pragma unroll
      for (int k = 0; k < W - 1; k++) {
        int i = length - (W - 1) + k;
        if (i >= 0) append<E, W, V>(last, stateRow(start + i));
      }
      columns.putAll(last);
    } else {
      for (int j = 0; j < size; j++) {  // ascending: a column is read before it is overwritten
        i64 from = static_cast<i64>(j) + length;
        Row<E, V> row;
        if (from >= size) {
          row = stateRow(start + static_cast<int>(from - size));
        } else if (owned.isFilled) {
          row = columns.get(static_cast<int>(from));
        } else {
          row.zero();
        }
        columns.put(j, row);
      }
    }
  }

  // The same for fewer than W-1 tokens, which are the ring's oldest rows.
  __device__ __forceinline__ void keepShort(const Ahead& ahead, i64 slot, int length, const Row<E, V> (&h)[W - 1]) const {
    Row<E, V> last[W - 1];
#pragma unroll
    for (int j = 0; j < W - 1; j++) last[j] = h[j];
    if constexpr (kRing && W > 2) {
      Row<E, V> rows[W - 2];
      ahead.look(rows);
#pragma unroll
      for (int i = 0; i < W - 2; i++)
        if (i < length) append<E, W, V>(last, rows[i]);
    }
    Columns<E, W, V>(a.states, slot, c, a.stateType).putAll(last);
  }

  __device__ __forceinline__ void putInitial(int s, const Row<E, V> (&h)[W - 1]) const {
    Columns<E, W, V>(a.initialOut, s, c, a.stateType).putAll(h);
  }

  __device__ __forceinline__ void emptySequences(int block) const {
    Sequences q{a.cu, a.sequences, a.tokens};
    int first = block * a.emptyPerTile, last = min(first + a.emptyPerTile, a.sequences);
    for (int s = first; s < last; s++) {
      if (q.start(s) < q.end(s)) continue;
      Row<E, V> h[W - 1];
      Owned owned = ownedBy(s);
      i64 slot = slotOf(owned);
      if (slot >= 0) {
        history(s, owned, slot, h);
      } else {
#pragma unroll
        for (int j = 0; j < W - 1; j++) h[j].zero();
      }
      putInitial(s, h);
    }
  }

  __device__ __forceinline__ void run() {
    int block = blockIdx.x / a.columns, column = blockIdx.x % a.columns;
    c = (column * blockDim.x + threadIdx.x) * V;
    bool live = c < a.channels;
    if (block >= a.tiles) {
      if (live) emptySequences(block - a.tiles);
      return;
    }
    int from = block * a.tile, to = static_cast<int>(min(static_cast<i64>(from) + a.tile, static_cast<i64>(a.tokens)));
    // Rows and taps do not depend on the search: let them travel meanwhile. (Padding rows may be loaded, but
    // nothing is computed from them.)
    Ahead ahead(shared());
    Column x[1] = {{a.x, a.xPitch, c, a.xType}};
    Taps<W, V> taps;
    if (live) {
      if constexpr (kRing && !kSteps) {
        ahead.startAt(fetchBefore(from), x, from, to);
      } else {
        ahead.start(x, from, to);
      }
      taps.load(a.weights, a.weightPitch, c);
    }
    int lane = threadIdx.x % 32, known = kSteps ? from : 0;  // lane i knows what sequence known + i owns
    Owned lanes{-1, 0};
    if (known + lane < a.sequences) lanes = ownedBy(known + lane);
    if constexpr (kSteps) {
      if (isOneTokenEach(from, to)) {
        steps(taps, from, to - from, lanes, live);
        return;
      }
    }
    Sequences q{a.cu, a.sequences, a.tokens};
    int s = max(sequenceOf(q, from), 0);
    bool asked = s >= known && s < known + 32;
    Owned owned = ofLane(lanes, asked ? s - known : 0);
    if (s >= a.sequences || !live) return;
    if (!asked) owned = ownedBy(s);
    int start = q.start(s), end = q.end(s), t = max(from, start);
    if (start < from && from < start + W - 1) t = min(start + W - 1, end);
    if (a.silu) taps.scale(kScale);  // not before: that would wait for them
    int next = from, limit = to;  // `ahead` goes on with row `next` and ends before `limit`
    while (true) {
      while (t >= end) {
        if (++s >= a.sequences) return;
        owned = ownedBy(s);
        start = q.start(s);
        end = q.end(s);
        t = max(t, start);
      }
      if (t >= to) return;
      int stop = min(end, to);
      if (start < to && to < start + W - 1) stop = min(start + W - 1, end);
      if (t != next || stop > limit) {
        limit = max(stop, to);
        ahead.drop();
        ahead.start(x, t, kRing ? limit : stop);
      }
      bool taken = segment(taps, ahead, x, kRing ? limit : stop, s, owned, start, end, t, stop, !kSteps && t == from);
      t = stop;
      next = kRing && taken ? stop : -1;
    }
  }

  static constexpr int kMostSteps = 4;

  // Whether sequence t has token t and no other, for all of a tile's. All threads of a warp call it.
  __device__ __forceinline__ bool isOneTokenEach(int from, int to) const {
    int lane = threadIdx.x % 32, s = from + lane;
    return __all_sync(0xffffffffu, s > to || (s <= a.sequences && __ldg(a.cu + s) == s));
  }

  // Such a tile, whose rows are on their way to the ring; lane i has what the i-th sequence owns.
  __device__ __forceinline__ void steps(const Taps<W, V>& taps, int from, int count, const Owned& lanes, bool live) const {
    using Shared = SharedStates<E, W, V>;
    constexpr int kAtOnce = (kSharedRows - kMostSteps) / (W - 1);
    Shared states(a.states, c, a.channels);
    uint32_t row = shared() + threadIdx.x * 16, places = shared() + kMostSteps * kStride;
    char* out = static_cast<char*>(a.out) + (from * a.outPitch + c) * E::kBytes;
#pragma unroll 1
    for (int begin = 0; begin < count; begin += kAtOnce) {
      int end = min(count, begin + kAtOnce);
#pragma unroll 1
      for (int i = begin; i < end; i++) {
        Owned owned = ofLane(lanes, i);
        i64 slot = slotOf(owned);
        if (slot >= 0 && owned.isFilled) states.fetch(places + (i - begin) * Shared::kBytes, slot);
      }
      awaitCopies();
      __syncwarp();
#pragma unroll 1
      for (int i = begin; i < end; i++, row += kStride) {
        Owned owned = ofLane(lanes, i);
        i64 slot = slotOf(owned);
        uint32_t place = places + (i - begin) * Shared::kBytes;
        Row<E, V> result;
        result.zero();
        if (slot >= 0 && live) {
          Row<E, V> columns[W - 1];
          if (owned.isFilled) {
            states.get(place, columns);
          } else {
#pragma unroll
            for (int j = 0; j < W - 1; j++) columns[j].zero();
          }
          result = step<E, W, V>(taps, sharedRow<E, V>(row), columns, a.xType, a.silu);
          states.put(place, columns);
        }
        if (live) result.store(out, 0, a.xType);
        out += a.outPitch * E::kBytes;
        __syncwarp();
        if (slot >= 0) states.store(place, slot);
      }
      __syncwarp();
    }
  }

  // Tokens [t, stop) of the sequence s, which has [start, end); `first`: t is the tile's first, and the rows before it come
  // to shared memory. Returns false, with no row taken, if the sequence is skipped.
  __device__ __forceinline__ bool segment(const Taps<W, V>& taps, Ahead& ahead, const Column (&x)[1], int limit, int s, const Owned& owned, int start, int end, int t, int stop, bool first) const {
    float window[W - 1][V];
    bool keepLater = false;
    i64 slot = slotOf(owned);
    if (a.cacheIndices && slot < 0) {
      Row<E, V> none;
      none.zero();
      if (t == start && a.initialOut.base) {
        Row<E, V> h[W - 1];
#pragma unroll
        for (int j = 0; j < W - 1; j++) h[j].zero();
        putInitial(s, h);
      }
      for (; t < stop; t++) none.store(a.out, t * a.outPitch + c, a.xType);
      return false;
    }
    if (t == start) {
      if (a.cacheIndices) {
        Row<E, V> h[W - 1];
        history(s, owned, slot, h);
#pragma unroll
        for (int j = 0; j < W - 1; j++) h[j].widen(window[j], a.stateType);
        if (a.initialOut.base) putInitial(s, h);
        bool usual = kRing && !a.positions && a.stateColumns == W - 1;
        keepLater = usual && end - start >= W - 1;
        if (keepLater) {
          fetchLast(end);
        } else if (usual) {
          keepShort(ahead, slot, end - start, h);
        } else {
          keep(s, owned, slot, start, end, h);
        }
      } else {
#pragma unroll
        for (int j = 0; j < W - 1; j++)
#pragma unroll
          for (int i = 0; i < V; i++) window[j][i] = 0;
      }
    } else if (kRing && first) {
      awaitCopyGroups<kAhead - 1>();
#pragma unroll
      for (int j = 0; j < W - 1; j++) sharedRow<E, V>(rowsBefore() + j * kStride).widen(window[j], a.xType);
    } else {
#pragma unroll
      for (int j = 0; j < W - 1; j++) {
        Row<E, V> row;
        row.zero();
        int r = t - (W - 1) + j;
        if (r >= start) row.template load<true>(a.x, r * a.xPitch + c, a.xType);
        row.widen(window[j], a.xType);
      }
    }
    int begin = t;
    if constexpr (kRing) {
      if (a.silu) {
        walk<true>(taps, ahead, x, limit, window, t, stop);
      } else {
        walk<false>(taps, ahead, x, limit, window, t, stop);
      }
    } else if (a.silu) {  // whole groups have no branch between their rows, so that the rows' arithmetic interleaves
      for (; t + 2 * kAhead <= stop; t += kAhead) group<true, true>(taps, ahead, x, window, t, stop);
      for (; t < stop; t += kAhead) group<false, true>(taps, ahead, x, window, t, stop);
    } else {
      for (; t < stop; t += kAhead) group<false, false>(taps, ahead, x, window, t, stop);
    }
    if (keepLater) keepLast(slot, stop - begin <= kAhead);
    return true;
  }

  // Shared memory: the ring, then W-1 rows each of those before the tile and of those that become a sequence's new state,
  // which travel while it is worked on.
  static constexpr int kStride = kThreads * E::kBytes * V, kSharedRows = kAhead + 2 * (W - 1);
  __device__ __forceinline__ static uint32_t shared() {
    if constexpr (kRing) {
      __shared__ alignas(16) unsigned char rows[kSharedRows * kStride];
      return static_cast<uint32_t>(__cvta_generic_to_shared(rows));
    } else {
      return 0;
    }
  }
  __device__ __forceinline__ static uint32_t rowsBefore() { return shared() + kAhead * kStride + threadIdx.x * E::kBytes * V; }
  __device__ __forceinline__ static uint32_t lastRows() { return rowsBefore() + (W - 1) * kStride; }

  // Part of the copy group that the next row closes.
  __device__ __forceinline__ void fetchRow(uint32_t to, int token) const {
    if constexpr (kRing) copyAsync<E::kBytes * V>(to, static_cast<const char*>(a.x) + (token * a.xPitch + c) * E::kBytes);
  }

  // Returns where row `from` begins.
  __device__ __forceinline__ const char* fetchBefore(int from) const {
    i64 pitch = a.xPitch * E::kBytes;
    const char* row = static_cast<const char*>(a.x) + from * pitch + static_cast<i64>(c) * E::kBytes - (W - 1) * pitch;
#pragma unroll
    for (int j = 0; j < W - 1; j++, row += pitch)
      if (from - (W - 1) + j >= 0) copyAsync<E::kBytes * V>(rowsBefore() + j * kStride, row);
    return row;
  }

  __device__ __forceinline__ void fetchLast(int end) const {
#pragma unroll
    for (int j = 0; j < W - 1; j++) fetchRow(lastRows() + j * kStride, end - (W - 1) + j);
  }

  __device__ __forceinline__ void keepLast(i64 slot, bool early) const {
    if constexpr (kRing) {
      if (early) awaitCopies();
      Row<E, V> last[W - 1];
#pragma unroll
      for (int j = 0; j < W - 1; j++) last[j] = sharedRow<E, V>(lastRows() + j * kStride);
      Columns<E, W, V>(a.states, slot, c, a.stateType).putAll(last);
    }
  }

  // Rows t .. stop from the ring. One short loop for nearly all of them: tiles are so short that code which is not in
  // the caches of instructions takes longer than what it saves.
  template <bool kSilu>
  __device__ __forceinline__ void walk(const Taps<W, V>& taps, Ahead& ahead, const Column (&x)[1], int limit, float (&window)[W - 1][V], int t, int stop) const {
    char* to = static_cast<char*>(a.out) + (t * a.outPitch + c) * E::kBytes;
#pragma unroll 1
    for (; t + kTogether <= stop; t += kTogether) rows<kTogether, kSilu>(taps, ahead, x, limit, window, t, to);
#pragma unroll 1
    for (; t < stop; t++) rows<1, kSilu>(taps, ahead, x, limit, window, t, to);
  }

  template <int kRows, bool kSilu>
  __device__ __forceinline__ void rows(const Taps<W, V>& taps, Ahead& ahead, const Column (&x)[1], int limit, float (&window)[W - 1][V], int t, char*& to) const {
    Row<E, V> taken[kRows][1];
    ahead.template take<kRows>(taken, x, t, limit);
#pragma unroll
    for (int j = 0; j < kRows; j++) {
      row<kSilu>(taps, taken[j][0], window, to, 0);
      to += a.outPitch * E::kBytes;
    }
  }

  template <bool kSilu>
  __device__ __forceinline__ void row(const Taps<W, V>& taps, Row<E, V>& row, float (&window)[W - 1][V], void* out, i64 element) const {
    float now[V], y[V];
    row.widen(now, a.xType);
    convolve<W, V>(taps, window, now, y);
    if (kSilu) silu<V, true>(y);
    row.narrow(y, a.xType);
    row.store(out, element, a.xType);
    shift<W, V>(window, now);
  }

  // Rows t .. t + kAhead from registers. kWhole: those and the next as many lie before stop.
  template <bool kWhole, bool kSilu>
  __device__ __forceinline__ void group(const Taps<W, V>& taps, Ahead& ahead, const Column (&x)[1], float (&window)[W - 1][V], int t, int stop) const {
    constexpr int kRows = kWhole ? kTogether : 1;
#pragma unroll
    for (int u = 0; u < kAhead; u += kRows) {
      if (!kWhole && t + u >= stop) break;
      Row<E, V> taken[kRows][1];
      ahead.template take<kWhole, kRows>(taken, u, x, t + u, stop);
#pragma unroll
      for (int j = 0; j < kRows; j++) row<kSilu>(taps, taken[j][0], window, a.out, (t + u + j) * a.outPitch + c);
    }
  }
};

}  // namespace weft
