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

// The last s in [0, count] with cu[s] <= token, or -1; `count` says that the token is padding. All threads of
// the block call it, and all get the same: each round, every thread probes one of blockDim.x evenly spaced
// starts, so 128 threads need one round up to 128 sequences and two up to 16,384.
__device__ __forceinline__ int sequenceOf(const Sequences& q, int token) {
#ifdef WEFT_HOST_EMULATION  // one thread at a time
  int last = -1;
  for (int s = 0; s <= q.count; s++) if (q.cu[s] <= token) last = s;
  return last;
#else
  int low = 0, size = q.count + 1;  // the answer lies in [low, low + size), or is low - 1
  while (true) {
    int step = (size + blockDim.x - 1) / blockDim.x;
    int at = threadIdx.x * step;
    int hits = __syncthreads_count(at < size && __ldg(q.cu + low + at) <= token);
    if (hits == 0) return low - 1;
    low += (hits - 1) * step;
    size = min(step, size - (hits - 1) * step);
    if (step == 1) return low;
  }
#endif
}

}  // namespace weft
