// Convolution states: one sequence's columns of [slots, C, S], V channels at a time, in any layout.
#pragma once
#include "../common/rows.cuh"

namespace weft {

// How a kernel may reach the columns of V channels. Chosen by the host from strides and alignment.
enum StateMode : int {
  kScattered = 0,  // element by element: any strides
  kRows = 1,       // channels are neighbours and aligned: a column is one access
  kPacked = 2      // [C, W-1] without gaps, aligned: a thread's V * (W-1) elements are W-1 whole rows' worth
};

struct States {
  void* base;
  i64 slot, channel, column;  // strides in elements
  int mode;
};

__device__ __forceinline__ int ringColumn(i64 position, int columns) {
  int r = static_cast<int>(position % columns);
  return r < 0 ? r + columns : r;
}

// A thread's V * (W-1) packed elements as columns, and back.
template <class E, int W, int V>
__device__ __forceinline__ void unpack(const Row<E, V> (&packed)[W - 1], Row<E, V> (&columns)[W - 1]) {
#pragma unroll
  for (int j = 0; j < W - 1; j++) {
    columns[j].zero();
#pragma unroll
    for (int i = 0; i < V; i++) {
      int e = i * (W - 1) + j;
      columns[j].put(i, packed[e / V].bits(e % V));
    }
  }
}

template <class E, int W, int V>
__device__ __forceinline__ void pack(const Row<E, V> (&columns)[W - 1], Row<E, V> (&packed)[W - 1]) {
#pragma unroll
  for (int k = 0; k < W - 1; k++) {
    packed[k].zero();
#pragma unroll
    for (int i = 0; i < V; i++) {
      int e = k * V + i;
      packed[k].put(i, columns[e % (W - 1)].bits(e / (W - 1)));
    }
  }
}

template <class E, int W, int V>
struct Columns {
  const States& states;
  i64 offset;  // of the slot's first channel of this thread
  int type;

  __device__ __forceinline__ Columns(const States& s, i64 slot, int channel, int type)
      : states(s), offset(slot * s.slot + channel * s.channel), type(type) {}

  __device__ __forceinline__ Row<E, V> get(int j) const {
    Row<E, V> row;
    i64 at = offset + j * states.column;
    if (V == 1 || states.mode == kRows) {
      row.template load<false>(states.base, at, type);
    } else {
      row.zero();
#pragma unroll
      for (int i = 0; i < V; i++) {
        Row<E, 1> one;
        one.template load<false>(states.base, at + i * states.channel, type);
        row.put(i, one.w[0]);
      }
    }
    return row;
  }

  __device__ __forceinline__ void put(int j, const Row<E, V>& row) const {
    i64 at = offset + j * states.column;
    if (V == 1 || states.mode == kRows) {
      row.store(states.base, at, type);
    } else {
#pragma unroll
      for (int i = 0; i < V; i++) {
        Row<E, 1> one;
        one.w[0] = row.bits(i);
        one.store(states.base, at + i * states.channel, type);
      }
    }
  }

  // Columns first .. first + W - 2, oldest first. Packed states have these columns only.
  __device__ __forceinline__ void history(int first, Row<E, V> (&h)[W - 1]) const {
    if constexpr (V > 1) {
      if (states.mode == kPacked) {
        Row<E, V> packed[W - 1];
#pragma unroll
        for (int k = 0; k < W - 1; k++) packed[k].template load<false>(states.base, offset + k * V, type);
        unpack<E, W, V>(packed, h);
        return;
      }
    }
#pragma unroll
    for (int j = 0; j < W - 1; j++) h[j] = get(first + j);
  }

  // Columns 0 .. W - 2.
  __device__ __forceinline__ void putAll(const Row<E, V> (&h)[W - 1]) const {
    if constexpr (V > 1) {
      if (states.mode == kPacked) {
        Row<E, V> packed[W - 1];
        pack<E, W, V>(h, packed);
#pragma unroll
        for (int k = 0; k < W - 1; k++) packed[k].store(states.base, offset + k * V, type);
        return;
      }
    }
#pragma unroll
    for (int j = 0; j < W - 1; j++) put(j, h[j]);
  }
};

// Appends a row to a window of the last W-1.
template <class E, int W, int V>
__device__ __forceinline__ void append(Row<E, V> (&window)[W - 1], const Row<E, V>& row) {
#pragma unroll
  for (int j = 0; j + 1 < W - 1; j++) window[j] = window[j + 1];
  window[W - 2] = row;
}

}  // namespace weft
