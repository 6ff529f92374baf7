// Causal conv1d, decoding step: a few new tokens for each slot, the state updated in place.
//
// Work. A thread owns V channels of `perBlock` sequences, one after another, with the taps in registers; x,
// the state and the output of a token are each read or written once, 16 bytes at a time where layout allows.
// x and out may be one tensor: a row is read before its output is written, and nothing reads it again.
#pragma once
#include "../common/sequences.cuh"
#include "math.cuh"
#include "states.cuh"

namespace weft {

struct UpdateArguments {  // as Conv1dArguments.java writes it
  const void* x;
  void* out;
  const float* weights;
  const int* cu;            // null: `length` tokens each
  const int* cacheIndices;
  const int* positions;     // null: states shift; else they are rings
  const int* accepted;      // null: no speculation
  States states;
  i64 xSequence, xToken, outSequence, outToken, weightPitch, slots;
  int tokens, sequences, stateColumns, length;
  int perBlock, columns, padSlot;
  int silu, width, xType, stateType;
  int channels;
};

template <class E, int W, int V>
struct Update {
  const UpdateArguments& a;
  int c;

  __device__ __forceinline__ void run() {
    int group = blockIdx.x / a.columns, column = blockIdx.x % a.columns;
    c = (column * blockDim.x + threadIdx.x) * V;
    if (c >= a.channels) return;
    Taps<W, V> taps;
    taps.load(a.weights, a.weightPitch, c);
    int first = group * a.perBlock, last = min(first + a.perBlock, a.sequences);
    if (V > 1 && !a.cu && a.length == 1 && !a.positions && !a.accepted && a.stateColumns == W - 1) {
      steps(taps, first, last);
      return;
    }
#pragma unroll 1
    for (int s = first; s < last; s++) sequence(taps, s);
  }

  // What one decoding step of one sequence reads.
  struct Step {
    Row<E, V> x, kept[W - 1];
    i64 slot;  // -1: skipped
  };

  __device__ __forceinline__ void load(Step& step, int s) const {
    int slot = __ldg(a.cacheIndices + s);
    step.slot = slot != a.padSlot && slot >= 0 && slot < a.slots ? slot : -1;
    step.x.template load<false>(a.x, s * a.xSequence + c, a.xType);
    if (step.slot >= 0) Columns<E, W, V>(a.states, step.slot, c, a.stateType).history(0, step.kept);
  }

  // One token each, states that are the window: the usual step. The next sequence's rows travel while one is worked on.
  __device__ __forceinline__ void steps(const Taps<W, V>& taps, int first, int last) const {
    Step step[2];
    if (first < last) load(step[0], first);
    for (int s = first; s < last; s += 2) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        if (s + i >= last) break;
        if (s + i + 1 < last) load(step[1 - i], s + i + 1);
        one(taps, step[i], s + i);
      }
    }
  }

  __device__ __forceinline__ void one(const Taps<W, V>& taps, Step& step, int s) const {
    Row<E, V> result;
    result.zero();
    if (step.slot >= 0) {
      float window[W - 1][V], now[V], y[V];
#pragma unroll
      for (int j = 0; j < W - 1; j++) step.kept[j].widen(window[j], a.stateType);
      step.x.widen(now, a.xType);
      convolve<W, V>(taps, window, now, y);
      if (a.silu) silu<V, false>(y);
      result.narrow(y, a.xType);
      append<E, W, V>(step.kept, step.x.converted(a.xType, a.stateType));
      Columns<E, W, V>(a.states, step.slot, c, a.stateType).putAll(step.kept);
    }
    result.store(a.out, s * a.outSequence + c, a.xType);
  }

  __device__ __forceinline__ void sequence(const Taps<W, V>& taps, int s) const {
    i64 x = c, out = c;
    int length = a.length;
    if (a.cu) {
      Sequences q{a.cu, a.sequences, a.tokens};
      int start = q.start(s);
      length = q.end(s) - start;
      x += start * a.xToken;
      out += start * a.outToken;
    } else {
      x += s * a.xSequence;
      out += s * a.outSequence;
    }
    if (length <= 0) return;
    Row<E, V> next;  // the first row travels while the slot's number does
    next.template load<false>(a.x, x, a.xType);
    int slot = __ldg(a.cacheIndices + s), size = a.stateColumns;
    int first = size - (W - 1);  // the history's oldest column
    bool valid = slot != a.padSlot && slot >= 0 && slot < a.slots;
    if (a.accepted) {
      i64 accepted = __ldg(a.accepted + s);
      valid = valid && accepted >= 1 && accepted - 1 + W - 1 <= size && static_cast<i64>(W) - 2 + length <= size;
      first = valid ? static_cast<int>(accepted - 1) : 0;
    }
    if (!valid) {
      Row<E, V> none;
      none.zero();
      for (int i = 0; i < length; i++) none.store(a.out, out + i * a.outToken, a.xType);
      return;
    }
    Columns<E, W, V> columns(a.states, slot, c, a.stateType);
    Row<E, V> kept[W - 1];
    i64 position = 0;
    if (a.positions) {
      position = __ldg(a.positions + s);
#pragma unroll
      for (int j = 0; j < W - 1; j++) kept[j] = columns.get(ringColumn(position - (W - 1) + j, size));
    } else {
      columns.history(first, kept);
    }
    float window[W - 1][V];
#pragma unroll
    for (int j = 0; j < W - 1; j++) kept[j].widen(window[j], a.stateType);
    // Where a new token i goes: column target + i, or the ring's, if that is one of the state's.
    bool whole = !a.positions && !a.accepted && size == W - 1;
    int target = 0;
    if (a.accepted) {
      target = W - 2;
#pragma unroll
      for (int j = 0; j + 1 < W - 1; j++) columns.put(j, kept[j + 1]);
    } else if (!a.positions && !whole) {
      target = size - length;
      for (int j = 0; j < target; j++) columns.put(j, columns.get(j + length));
    }
    for (int i = 0; i < length; i++) {
      Row<E, V> row = next;
      if (i + 1 < length) next.template load<false>(a.x, x + (i + 1) * a.xToken, a.xType);
      float now[V], y[V];
      row.widen(now, a.xType);
      convolve<W, V>(taps, window, now, y);
      if (a.silu) silu<V, false>(y);
      Row<E, V> result;
      result.narrow(y, a.xType);
      result.store(a.out, out + i * a.outToken, a.xType);
      shift<W, V>(window, now);
      row = row.converted(a.xType, a.stateType);
      if (whole) {
        append<E, W, V>(kept, row);
      } else if (a.positions) {
        columns.put(ringColumn(position + i, size), row);
      } else if (target + i >= 0) {
        columns.put(target + i, row);
      }
    }
    if (whole) columns.putAll(kept);
  }
};

}  // namespace weft
