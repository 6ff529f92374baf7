// Causal conv1d, the usual decoding step: one token of a sequence, and a state that is the window of the last W-1.
//
// A state of [C, W-1] lies 16 (W-1) bytes a thread, so that a warp's accesses of 16 bytes a thread would touch each
// of its lines W-1 times. Here it comes and goes through shared memory in whole lines, and a thread takes its own part
// from there. That costs no registers either: all of a few sequences' bytes are on their way at once.
#pragma once
#include "../common/ring.cuh"
#include "math.cuh"
#include "states.cuh"

namespace weft {

// States in shared memory, for rows of 16 bytes a thread: of each sequence W-1 rows of the whole block, of which a warp
// uses its own slice. No barrier of the block is needed, only of the warp, between copies and accesses of its threads.
template <class E, int W, int V>
struct SharedStates {
  static constexpr int kRow = kThreads * 16, kBytes = (W - 1) * kRow, kWarp = 32 * 16;
  const States& states;
  bool packed;   // else rows; scattered states do not come here
  i64 channel;   // in elements: where the warp's channels begin, or, of rows, this thread's
  int pieces;    // of 16 bytes that the warp has, or, of rows, that it has of each
  int lane;
  uint32_t warp;

  // `c` is this thread's first channel, of which it has none if that is not below `channels`.
  __device__ __forceinline__ SharedStates(const States& states, int c, int channels)
      : states(states), packed(states.mode == kPacked), lane(threadIdx.x % 32), warp(threadIdx.x / 32 * kWarp) {
    int first = c - lane * V;
    channel = packed ? first * states.channel : static_cast<i64>(c);
    pieces = min(32, (channels - first) / V) * (packed ? W - 1 : 1);
  }

  // Sets out for a sequence's states, as part of the current copy group.
  __device__ __forceinline__ void fetch(uint32_t to, i64 slot) const {
#pragma unroll
    for (int k = 0; k < W - 1; k++)
      if (has(k)) copyAsync<16>(to + warp + k * kRow + lane * 16, piece(slot, k));
  }

  // This thread's columns. The warp's copies have arrived.
  __device__ __forceinline__ void get(uint32_t from, Row<E, V> (&columns)[W - 1]) const {
    Row<E, V> own[W - 1];
#pragma unroll
    for (int k = 0; k < W - 1; k++) own[k] = sharedRow<E, V>(place(from, k));
    if (packed) {
      unpack<E, W, V>(own, columns);
    } else {
#pragma unroll
      for (int k = 0; k < W - 1; k++) columns[k] = own[k];
    }
  }

  __device__ __forceinline__ void put(uint32_t to, const Row<E, V> (&columns)[W - 1]) const {
    Row<E, V> own[W - 1];
    if (packed) {
      pack<E, W, V>(columns, own);
    } else {
#pragma unroll
      for (int k = 0; k < W - 1; k++) own[k] = columns[k];
    }
#pragma unroll
    for (int k = 0; k < W - 1; k++) putSharedRow(place(to, k), own[k]);
  }

  // Writes what the warp has put.
  __device__ __forceinline__ void store(uint32_t from, i64 slot) const {
#pragma unroll
    for (int k = 0; k < W - 1; k++)
      if (has(k)) *reinterpret_cast<uint4*>(piece(slot, k)) = sharedPiece(from + warp + k * kRow + lane * 16);
  }

 private:
  __device__ __forceinline__ bool has(int k) const { return (packed ? k * 32 + lane : lane) < pieces; }

  // The piece that this lane moves as the warp's k-th.
  __device__ __forceinline__ char* piece(i64 slot, int k) const {
    i64 element = slot * states.slot + channel + (packed ? static_cast<i64>((k * 32 + lane) * V) : k * states.column);
    return static_cast<char*>(states.base) + element * E::kBytes;
  }

  // Where the k-th piece of this thread's own lies.
  __device__ __forceinline__ uint32_t place(uint32_t shared, int k) const {
    int piece = packed ? lane * (W - 1) + k : k * 32 + lane;
    return shared + warp + piece / 32 * kRow + piece % 32 * 16;
  }
};

// The output of a token; its row joins the columns.
template <class E, int W, int V>
__device__ __forceinline__ Row<E, V> step(const Taps<W, V>& taps, const Row<E, V>& x, Row<E, V> (&columns)[W - 1], int type, bool activate) {
  float window[W - 1][V], now[V], y[V];
#pragma unroll
  for (int j = 0; j < W - 1; j++) columns[j].widen(window[j], type);
  x.widen(now, type);
  convolve<W, V>(taps, window, now, y);
  if (activate) silu<V, false>(y);
  Row<E, V> result;
  result.narrow(y, type);
  append<E, W, V>(columns, x);
  return result;
}

}  // namespace weft
