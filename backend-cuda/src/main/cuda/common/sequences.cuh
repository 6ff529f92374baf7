// Packed sequences: who a token belongs to, found on the device, so that the host needs T and B only.
#pragma once
#include "rows.cuh"

namespace weft {

// cu_seqlens as launched. Whatever it holds, starts and ends come out within [0, tokens].
struct Sequences {
  const int* cu;
  int count;
  int tokens;

  __device__ __forceinline__ int start(int s) const { return min(max(__ldg(cu + s), 0), tokens); }
  __device__ __forceinline__ int end(int s) const { return min(max(__ldg(cu + s + 1), 0), tokens); }
};

// The last s in [0, count] with cu[s] <= token, or -1; `count` says that the token is padding. All threads of a warp
// call it, and all get the same: each round, every lane probes one of 32 evenly spaced starts, so that one round is
// enough up to 31 sequences, two up to 1023. No barrier, so that a block's warps need not wait for each other.
__device__ __forceinline__ int sequenceOf(const Sequences& q, int token) {
  int low = 0, size = q.count + 1, lane = threadIdx.x % 32;  // the answer lies in [low, low + size), or is low - 1
  while (true) {
    int step = (size + 31) / 32, at = lane * step;
    int hits = __popc(__ballot_sync(0xffffffffu, at < size && __ldg(q.cu + low + at) <= token));
    if (hits == 0) return low - 1;
    low += (hits - 1) * step;
    size = min(step, size - (hits - 1) * step);
    if (step == 1) return low;
  }
}

}  // namespace weft
