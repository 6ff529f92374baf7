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

template <class E, int W, int V>
struct Forward {
  static constexpr bool kRing = E::kBytes * V == 16;
  static constexpr int kAhead = rowsAhead(W, kRing ? 6 : 3);
  // Rows taken at once, so that their arithmetic interleaves: from a ring W-1 or a multiple, see rowsAhead.
  static constexpr int kTogether = kRing ? (W == 3 ? 2 : 3) : kAhead % 3 == 0 ? 3 : 1;
  // Rows of 16 bytes read ahead through shared memory, narrower ones in registers.
  using Ahead = std::conditional_t<kRing, RowsInRing<E, V, kAhead, kThreads>, RowsInRegisters<E, V, kAhead>>;
  const ForwardArguments& a;
  int c;

  // The slot of a sequence, or -1 if it is skipped.
  __device__ __forceinline__ i64 slotOf(int s) const {
    int slot = __ldg(a.cacheIndices + s);
    return slot == a.padSlot || slot < 0 || slot >= a.slots ? -1 : slot;
  }

  __device__ __forceinline__ void history(int s, i64 slot, Row<E, V> (&h)[W - 1]) const {
    if (__ldg(a.hasInitial + s) == 0) {
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
  __device__ __forceinline__ void keep(int s, i64 slot, int start, int end, const Row<E, V> (&h)[W - 1]) const {
    int length = end - start, size = a.stateColumns;
    bool had = __ldg(a.hasInitial + s) != 0;
    Columns<E, W, V> columns(a.states, slot, c, a.stateType);
    if (a.positions) {
      i64 n = __ldg(a.positions + s);
      for (int i = max(0, length - size); i < length; i++) columns.put(ringColumn(n + i, size), stateRow(start + i));
      if (!had) {
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
        } else if (had) {
          row = columns.get(static_cast<int>(from));
        } else {
          row.zero();
        }
        columns.put(j, row);
      }
    }
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
      i64 slot = slotOf(s);
      if (slot >= 0) {
        history(s, slot, h);
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
    Ahead ahead;
    Column x[1] = {{a.x, a.xPitch, c, a.xType}};
    Taps<W, V> taps;
    if (live) {
      if constexpr (kRing) {
        ahead.startAt(fetchBefore(from), x, from, to);
      } else {
        ahead.start(x, from, to);
      }
      taps.load(a.weights, a.weightPitch, c);
    }
    Sequences q{a.cu, a.sequences, a.tokens};
    int s = sequenceOf(q, from);
    if (s >= a.sequences || !live) return;
    if (s < 0) s = 0;
    int start = q.start(s), end = q.end(s), t = max(from, start);
    if (start < from && from < start + W - 1) t = min(start + W - 1, end);
    if (a.silu) taps.scale(kScale);  // not before: that would wait for them
    int next = from, limit = to;  // `ahead` goes on with row `next` and ends before `limit`
    while (true) {
      while (t >= end) {
        if (++s >= a.sequences) return;
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
      bool taken = segment(taps, ahead, x, kRing ? limit : stop, s, start, end, t, stop, t == from);
      t = stop;
      next = kRing && taken ? stop : -1;
    }
  }

  // Tokens [t, stop) of the sequence s, which has [start, end); `first`: t is the tile's first. Returns false, with no
  // row taken, if the sequence is skipped.
  __device__ __forceinline__ bool segment(const Taps<W, V>& taps, Ahead& ahead, const Column (&x)[1], int limit, int s, int start, int end, int t, int stop, bool first) const {
    float window[W - 1][V];
    i64 slot = 0;
    bool keepLater = false;
    if (a.cacheIndices) {
      slot = slotOf(s);
      if (slot < 0) {
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
    }
    if (t == start) {
      if (a.cacheIndices) {
        Row<E, V> h[W - 1];
        history(s, slot, h);
#pragma unroll
        for (int j = 0; j < W - 1; j++) h[j].widen(window[j], a.stateType);
        if (a.initialOut.base) putInitial(s, h);
        keepLater = kRing && !a.positions && a.stateColumns == W - 1 && end - start >= W - 1;
        if (keepLater) {
          fetchLast(end);
        } else {
          keep(s, slot, start, end, h);
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

  // Rows that travel to shared memory beside the ring, W-1 each: those before the tile, and those that become a
  // sequence's new state, while it is worked on.
  static constexpr int kStride = kThreads * E::kBytes * V;

  __device__ __forceinline__ static uint32_t rowsBefore() {
    if constexpr (kRing) {
      __shared__ alignas(16) unsigned char rows[2 * (W - 1) * kStride];
      return static_cast<uint32_t>(__cvta_generic_to_shared(rows)) + threadIdx.x * E::kBytes * V;
    } else {
      return 0;
    }
  }
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
