// Causal conv1d, backward: dx, dinitial and the partial sums of dweight and dbias in one pass over x and dout.
//
// With pre[t] recomputed, s = sigmoid(pre) and g[t] = dout[t] * s * (1 + pre * (1 - s)) (g = dout without an
// activation), for a sequence of L tokens and e from -(W-1) to L-1:
//   d[e] = sum over k of w[W-1-k] * g[e+k], 0 <= e+k < L,  +  dfinal[e-L+W-1] where e >= L-(W-1)
// is dx[e] for e >= 0 and dinitial[e+W-1] below (kernels of others had the dfinal terms wrong for L < W-1).
// dweight[k] sums g[t] * x[t-(W-1)+k], the initial state included; dbias sums g.
//
// Work. As the forward pass: a thread owns V channels and walks a tile of tokens once, ascending, with windows
// of W-1 rows of x and of g; d[e] is complete W-1 rows later, so a tile computes g for W-1 rows past its end.
// A tile owns the tokens that it holds and the dinitial of the sequences that start in it; no two write the
// same value. The sums of a tile go to `partial`, and conv1d_reduce adds the tiles always in the same order, so that
// results do not depend on scheduling. Tiles are long, a few per multiprocessor: partials stay small.
#pragma once
#include "../common/ring.cuh"
#include "../common/sequences.cuh"
#include "math.cuh"
#include "states.cuh"

namespace weft {

struct BackwardArguments {  // as Conv1dArguments.java writes it
  const void* x;
  const void* dout;
  void* dx;                       // null: not asked for
  const float* weights;
  const int* cu;
  const int* cacheIndices;        // null: no sequence is skipped
  const uint8_t* hasInitial;      // null: no initial states
  States initial;                 // [B, C, W-1]
  States dfinal;                  // base null: zeros
  States dinitial;                // base null: not asked for
  float* partial;                 // [tiles, W + 1, weightPitch]; null: no parameter gradient is asked for
  i64 xPitch, doutPitch, dxPitch, weightPitch;
  int tokens, sequences, padSlot;
  int tile, tiles, columns, emptyPerTile;
  int silu, width, xType, stateType;
  int channels;
};

template <class E, int W, int V>
struct Backward {
  static constexpr bool kRing = E::kBytes * V == 8 || E::kBytes * V == 16;
  static constexpr int kAhead = rowsAhead(W, kRing ? 6 : 3);
  static constexpr int kTogether = kAhead % 3 == 0 ? 3 : 1;  // rows taken at once, so that their arithmetic interleaves
  static_assert(!kRing || kTogether == W - 1, "the window's rows change their names in the loop over a ring");
  using Ahead = std::conditional_t<kRing, RowsInRing<E, V, kAhead, kThreads, 2>, RowsInRegisters<E, V, kAhead, 2>>;
  const BackwardArguments& a;
  int c;
  float dw[W][V], db[V];

  __device__ __forceinline__ bool skipped(int s) const {
    if (!a.cacheIndices) return false;
    int slot = __ldg(a.cacheIndices + s);
    return slot == a.padSlot || slot < 0;
  }

  __device__ __forceinline__ bool hasInitial(int s) const { return a.hasInitial && __ldg(a.hasInitial + s) != 0; }

  __device__ __forceinline__ void putInitial(int s, int j, const Row<E, V>& row) const {
    Columns<E, W, V>(a.dinitial, s, c, a.stateType).put(j, row);
  }

  __device__ __forceinline__ void emptySequences(int block) const {
    Sequences q{a.cu, a.sequences, a.tokens};
    int first = block * a.emptyPerTile, last = min(first + a.emptyPerTile, a.sequences);
    for (int s = first; s < last; s++) {
      if (q.start(s) < q.end(s)) continue;
      bool through = a.dfinal.base && hasInitial(s) && !skipped(s);
      for (int j = 0; j < W - 1; j++) {
        Row<E, V> row;
        row.zero();
        if (through) row = Columns<E, W, V>(a.dfinal, s, c, a.stateType).get(j);
        putInitial(s, j, row);
      }
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
#pragma unroll
    for (int i = 0; i < V; i++) {
      db[i] = 0;
#pragma unroll
      for (int k = 0; k < W; k++) dw[k][i] = 0;
    }
    // Rows and taps do not depend on the search: let them travel meanwhile. (Padding rows may be loaded, but nothing
    // is computed from them.)
    __shared__ alignas(16) unsigned char shared[kRing ? Ahead::kBytes : 16];
    Ahead ahead(static_cast<uint32_t>(__cvta_generic_to_shared(shared)));
    Column columns[2] = {{a.x, a.xPitch, c, a.xType}, {a.dout, a.doutPitch, c, a.xType}};
    Row<E, V> before[W - 1];
    Taps<W, V> taps;
    // Where the rows that the tile reads end: its last ones need the g of the W-1 after them.
    int limit = static_cast<int>(min(static_cast<i64>(to) + W - 1, static_cast<i64>(a.tokens)));
    if (live) {
      if constexpr (kRing) {
        ahead.start(columns, from, limit);
#pragma unroll
        for (int j = 0; j < W - 1; j++)
          if (from - (W - 1) + j >= 0) before[j].template load<true>(a.x, (from - (W - 1) + j) * a.xPitch + c, a.xType);
      }
      taps.load(a.weights, a.weightPitch, c);
    }
    Sequences q{a.cu, a.sequences, a.tokens};
    int s = sequenceOf(q, from);
    if (!live) return;
    if (s < 0) s = 0;
    int t = from;
    int next = kRing ? from : -1;  // the row that `ahead` goes on with
    for (; s < a.sequences && t < to; s++) {
      int start = q.start(s), end = q.end(s);
      t = max(t, start);
      int stop = min(end, to);
      if (t >= stop) continue;
      if (skipped(s)) {
        skip(s, start, t, stop);
      } else {
        Segment rows{s, start, end, t, stop, hasInitial(s)};
        if constexpr (kRing) {
          if (t != next) {
            ahead.drop();
            ahead.start(columns, t, limit);
          }
        }
        segment(taps, rows, columns, ahead, limit, t == from, before);
        next = rows.limit();
      }
      t = stop;
    }
    if (a.partial) {
      float* p = a.partial + static_cast<i64>(block) * (W + 1) * a.weightPitch + c;
#pragma unroll
      for (int k = 0; k <= W; k++) {
        const float(&v)[V] = k < W ? dw[k < W ? k : 0] : db;
        store(p + k * a.weightPitch, v);
      }
    }
  }

  static __device__ __forceinline__ void store(float* p, const float (&v)[V]) {
    if constexpr (V % 4 == 0) {
#pragma unroll
      for (int i = 0; i < V; i += 4) *reinterpret_cast<float4*>(p + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    } else {
#pragma unroll
      for (int i = 0; i < V; i++) p[i] = v[i];
    }
  }

  // A sequence that forward skipped: dx rows and dinitial are zero.
  __device__ __forceinline__ void skip(int s, int start, int t, int stop) const {
    Row<E, V> none;
    none.zero();
    if (t == start && a.dinitial.base) {
      for (int j = 0; j < W - 1; j++) putInitial(s, j, none);
    }
    if (!a.dx) return;
    for (; t < stop; t++) none.store(a.dx, t * a.dxPitch + c, a.xType);
  }

  __device__ __forceinline__ void load(Row<E, V>& x, Row<E, V>& d, int t) const {
    x.template load<true>(a.x, t * a.xPitch + c, a.xType);
    d.template load<true>(a.dout, t * a.doutPitch + c, a.xType);
  }

  // g of a token: dout times the activation's slope at the recomputed pre-activation.
  __device__ __forceinline__ void slope(const Taps<W, V>& taps, const float (&x)[W - 1][V], const float (&newest)[V], float (&gradient)[V]) const {
    float pre[V];
    convolve<W, V>(taps, x, newest, pre);
#pragma unroll
    for (int i = 0; i < V; i++) gradient[i] *= siluSlope(pre[i]);
  }

  __device__ __forceinline__ void sum(const float (&x)[W - 1][V], const float (&newest)[V], const float (&gradient)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) {
#pragma unroll
      for (int k = 0; k < W - 1; k++) dw[k][i] = fmaf(gradient[i], x[k][i], dw[k][i]);
      dw[W - 1][i] = fmaf(gradient[i], newest[i], dw[W - 1][i]);
      db[i] += gradient[i];
    }
  }

  // What the rows of a segment have in common.
  struct Segment {
    int sequence, start, end;  // the sequence's tokens
    int from, stop;            // the tile's part of them
    bool had;                  // an initial state

    // Where the rows that it reads end: the last rows of the tile need the g of the W-1 after them.
    __device__ __forceinline__ int limit() const { return static_cast<int>(min(static_cast<i64>(stop) + W - 1, static_cast<i64>(end))); }
  };

  // A row near an end of the segment, with every check. Rows from `end` on have g = 0.
  __device__ __forceinline__ void edge(const Taps<W, V>& taps, const Segment& q, i64 t, const Row<E, V>& xRow, const Row<E, V>& dRow,
                                       float (&x)[W - 1][V], float (&g)[W - 1][V]) {
    float newest[V], gradient[V];
#pragma unroll
    for (int i = 0; i < V; i++) newest[i] = gradient[i] = 0;
    if (t < q.end) {
      xRow.widen(newest, a.xType);
      dRow.widen(gradient, a.xType);
      if (a.silu) slope(taps, x, newest, gradient);
      if (t < q.stop) sum(x, newest, gradient);
    }
    emit(taps, q, t - (W - 1), g, gradient);
    shift<W, V>(x, newest);
    shift<W, V>(g, gradient);
  }

  // The first W-1 rows, which complete dinitial or nothing; those after them within the tile, which all do the
  // same; and the W-1 rows past the tile's end, whose g the last rows of the tile need. `first`: the tile's first
  // segment, before which `before` lies.
  __device__ __forceinline__ void segment(const Taps<W, V>& taps, const Segment& q, const Column (&columns)[2], Ahead& ahead, int limit, bool first,
                                          const Row<E, V> (&before)[W - 1]) {
    Row<E, V> xEdge[W - 1], dEdge[W - 1];
    if constexpr (!kRing) {
#pragma unroll
      for (int u = 0; u < W - 1; u++)
        if (q.from + u < q.end) load(xEdge[u], dEdge[u], q.from + u);
      ahead.start(columns, min(q.from + W - 1, q.stop), q.stop);
    }
    float x[W - 1][V], g[W - 1][V];
#pragma unroll
    for (int j = 0; j < W - 1; j++) {
      int r = q.from - q.start - (W - 1) + j;  // within the sequence
      Row<E, V> row;
      row.zero();
      if (r >= 0) {
        if (kRing && first) {
          row = before[j];
        } else {
          row.template load<true>(a.x, (q.start + r) * a.xPitch + c, a.xType);
        }
        row.widen(x[j], a.xType);
      } else {
        if (q.had) row = Columns<E, W, V>(a.initial, q.sequence, c, a.stateType).get(r + W - 1);
        row.widen(x[j], a.stateType);
      }
#pragma unroll
      for (int i = 0; i < V; i++) g[j][i] = 0;
    }
    edges(taps, q, columns, ahead, limit, q.from, static_cast<i64>(q.from) + W - 1, xEdge, dEdge, x, g);
    i64 t = static_cast<i64>(q.from) + W - 1;
    if (q.from + (W - 1) < q.stop) {
      rows(taps, q, columns, ahead, limit, x, g);
      t = q.stop;
    }
    if constexpr (!kRing) {
#pragma unroll
      for (int u = 0; u < W - 1; u++)
        if (t + u < q.end) load(xEdge[u], dEdge[u], static_cast<int>(t) + u);
    }
    edges(taps, q, columns, ahead, limit, t, static_cast<i64>(q.stop) + W - 1, xEdge, dEdge, x, g);
  }

  // W-1 rows from t on that lie before `stop`: from the ring, or given.
  __device__ __forceinline__ void edges(const Taps<W, V>& taps, const Segment& q, const Column (&columns)[2], Ahead& ahead, int limit, i64 t, i64 stop,
                                        const Row<E, V> (&xEdge)[W - 1], const Row<E, V> (&dEdge)[W - 1], float (&x)[W - 1][V], float (&g)[W - 1][V]) {
#pragma unroll
    for (int u = 0; u < W - 1; u++) {
      if (t + u >= stop) break;
      if constexpr (kRing) {
        Row<E, V> taken[1][2];
        if (t + u < q.limit()) ahead.template take<1>(taken, columns, static_cast<int>(t) + u, limit);
        edge(taps, q, t + u, taken[0][0], taken[0][1], x, g);
      } else {
        edge(taps, q, t + u, xEdge[u], dEdge[u], x, g);
      }
    }
  }

  // Rows from + W-1 .. stop: each has a g, is summed, and completes a dx that no dfinal reaches.
  __device__ __forceinline__ void rows(const Taps<W, V>& taps, const Segment& q, const Column (&columns)[2], Ahead& ahead, int limit,
                                       float (&x)[W - 1][V], float (&g)[W - 1][V]) {
    int t = q.from + W - 1;
    if constexpr (kRing) {
      if (a.silu) {
        walk<true>(taps, q, columns, ahead, limit, x, g, t);
      } else {
        walk<false>(taps, q, columns, ahead, limit, x, g, t);
      }
    } else if (a.silu) {  // whole groups have no branch between their rows, so that the rows' arithmetic interleaves
      for (; t + 2 * kAhead <= q.stop; t += kAhead) group<true, true>(taps, q, columns, ahead, x, g, t);
      for (; t < q.stop; t += kAhead) group<false, true>(taps, q, columns, ahead, x, g, t);
    } else {
      for (; t < q.stop; t += kAhead) group<false, false>(taps, q, columns, ahead, x, g, t);
    }
  }

  // Rows t .. stop from the ring.
  template <bool kSilu>
  __device__ __forceinline__ void walk(const Taps<W, V>& taps, const Segment& q, const Column (&columns)[2], Ahead& ahead, int limit,
                                       float (&x)[W - 1][V], float (&g)[W - 1][V], int t) {
    char* to = static_cast<char*>(a.dx) + ((t - (W - 1)) * a.dxPitch + c) * E::kBytes;
#pragma unroll 1
    for (; t + 2 * kTogether <= q.stop; t += 2 * kTogether) {
      fromRing<kTogether, kSilu>(taps, columns, ahead, limit, x, g, t, to);
      fromRing<kTogether, kSilu>(taps, columns, ahead, limit, x, g, t + kTogether, to);
    }
#pragma unroll 1
    for (; t < q.stop; t++) fromRing<1, kSilu>(taps, columns, ahead, limit, x, g, t, to);
  }

  template <int kRows, bool kSilu>
  __device__ __forceinline__ void fromRing(const Taps<W, V>& taps, const Column (&columns)[2], Ahead& ahead, int limit,
                                           float (&x)[W - 1][V], float (&g)[W - 1][V], int t, char*& to) {
    Row<E, V> taken[kRows][2];
    ahead.template take<kRows>(taken, columns, t, limit);
#pragma unroll
    for (int j = 0; j < kRows; j++) {
      inner<kSilu>(taps, taken[j], x, g, to, 0);
      to += a.dxPitch * E::kBytes;
    }
  }

  // Rows t .. t + kAhead, which are in registers, while the next as many set out. kWhole: all of both lie in the tile.
  template <bool kWhole, bool kSilu>
  __device__ __forceinline__ void group(const Taps<W, V>& taps, const Segment& q, const Column (&columns)[2], Ahead& ahead,
                                        float (&x)[W - 1][V], float (&g)[W - 1][V], int t) {
    constexpr int kRows = kWhole ? kTogether : 1;
#pragma unroll
    for (int u = 0; u < kAhead; u += kRows) {
      if (!kWhole && t + u >= q.stop) break;
      Row<E, V> taken[kRows][2];
      ahead.template take<kWhole, kRows>(taken, u, columns, t + u, q.stop);
#pragma unroll
      for (int j = 0; j < kRows; j++) inner<kSilu>(taps, taken[j], x, g, a.dx, (t + u + j - (W - 1)) * a.dxPitch + c);
    }
  }

  // A row of x and of dout: its g, its part of the sums, and the dx of the row W-1 before, at `element` of dx.
  template <bool kSilu>
  __device__ __forceinline__ void inner(const Taps<W, V>& taps, const Row<E, V> (&taken)[2], float (&x)[W - 1][V], float (&g)[W - 1][V], void* dx, i64 element) {
    float newest[V], gradient[V];
    taken[0].widen(newest, a.xType);
    taken[1].widen(gradient, a.xType);
    if (kSilu) slope(taps, x, newest, gradient);
    sum(x, newest, gradient);
    Row<E, V> row;
    float d[V];
    combine(taps, g, gradient, d);
    row.narrow(d, a.xType);
    if (a.dx) row.store(dx, element, a.xType);
    shift<W, V>(x, newest);
    shift<W, V>(g, gradient);
  }

  // The sum of w[W-1-k] * g[e+k], where g[e] .. g[e+W-2] are the window.
  __device__ __forceinline__ void combine(const Taps<W, V>& taps, const float (&g)[W - 1][V], const float (&newest)[V], float (&d)[V]) const {
#pragma unroll
    for (int i = 0; i < V; i++) {
      float v = taps.w[0][i] * newest[i];
#pragma unroll
      for (int k = W - 2; k >= 0; k--) v = fmaf(taps.w[W - 1 - k][i], g[k][i], v);
      d[i] = v;
    }
  }

  // Writes d of token e, with the checks that edges need.
  __device__ __forceinline__ void emit(const Taps<W, V>& taps, const Segment& q, i64 e, const float (&g)[W - 1][V], const float (&newest)[V]) const {
    bool initial = e < q.start;
    if (e < q.from && !(q.from == q.start && initial)) return;
    if (initial ? !a.dinitial.base : !a.dx) return;
    float d[V];
    combine(taps, g, newest, d);
    if (a.dfinal.base && e >= static_cast<i64>(q.end) - (W - 1)) {
      float f[V];
      Columns<E, W, V>(a.dfinal, q.sequence, c, a.stateType).get(static_cast<int>(e - q.end + W - 1)).widen(f, a.stateType);
#pragma unroll
      for (int i = 0; i < V; i++) d[i] += f[i];
    }
    Row<E, V> row;
    if (initial) {
      if (q.had) {
        row.narrow(d, a.stateType);
      } else {
        row.zero();
      }
      putInitial(q.sequence, static_cast<int>(e - q.start + W - 1), row);
    } else {
      row.narrow(d, a.xType);
      row.store(a.dx, e * a.dxPitch + c, a.xType);
    }
  }
};

}  // namespace weft
