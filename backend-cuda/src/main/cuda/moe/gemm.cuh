// Products C[m, n] = sum over k of A[m, k] B[n, k], one tile of C to a block: every grouped and plain product of MoE
// that is not written for one architecture. Rows of A and B are found by functors, so that A may be gathered through
// a permutation and B may lie in any layout; a row that is not there is null and counts as zeros. Any K, any pitch and
// any alignment: rows at multiples of 16 bytes go by cp.async, others element by element.
//
//   MmaTile: operands of one type, F16 or BF16, on the matrix units (mma.sync m16n8k16), sums in F32. K steps of 64
//            elements (128-byte rows, 16-byte chunks swizzled by the row so that ldmatrix meets no bank twice) pass
//            through a ring of kStages buffers.
//   FmaTile: operands of any types, each known at run time, by F32 FMA in the order of k.
#pragma once
#include "../common/mma.cuh"

namespace weft {

// kStepsOfSum > 0: the matrix units' sums, which are cut rather than rounded, are added to the total after so many K
// steps, so that a long sum is as good as one by FMA.
template <class E, int kRows_, int kColumns_, int kWarpsM, int kWarpsN, int kStages, int kStepsOfSum = 0>
struct MmaTile {
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kColumns_;
  static constexpr int kThreads = kWarpsM * kWarpsN * 32;
  static constexpr int kStep = 64;  // elements of K
  static constexpr int kRowBytes = 128;
  static constexpr int kStageBytes = (kRows + kColumns) * kRowBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  static constexpr int kM = kRows / kWarpsM / 16;    // 16-row fragments of a warp
  static constexpr int kN = kColumns / kWarpsN / 8;  // 8-column fragments of a warp
  static constexpr int kRowsApart = kThreads / 8;
  static constexpr int kCopiesA = kRows / kRowsApart;
  static constexpr int kCopiesB = kColumns / kRowsApart;
  static_assert(kRows % kRowsApart == 0 && kColumns % kRowsApart == 0 && kN % 2 == 0, "tile");

  float sum[kM][kN][4];

  // Row and column, within the tile, of element i of sum[m][n]; elements 0, 1 and 2, 3 are neighbours in a row.
  static __device__ __forceinline__ int row(int m, int i) {
    return threadIdx.x / 32 / kWarpsN * (kM * 16) + m * 16 + threadIdx.x % 32 / 4 + (i >> 1) * 8;
  }
  static __device__ __forceinline__ int column(int n, int i) {
    return threadIdx.x / 32 % kWarpsN * (kN * 8) + n * 8 + threadIdx.x % 4 * 2 + (i & 1);
  }

  // rowA(r), rowB(c): where row r of A and row c of B start, null where there is none. `safe`: any readable memory.
  template <class RowA, class RowB>
  __device__ __forceinline__ void run(char* shared, RowA rowA, RowB rowB, int k, bool alignedA, bool alignedB, const void* safe) {
    const int thread = threadIdx.x;
    const int chunk = thread % 8;
    const int first = thread / 8;
    const uint32_t base = sharedAddress(shared);
    const char* a[kCopiesA];
    const char* b[kCopiesB];
#pragma unroll
    for (int i = 0; i < kCopiesA; i++) a[i] = static_cast<const char*>(rowA(first + i * kRowsApart));
#pragma unroll
    for (int i = 0; i < kCopiesB; i++) b[i] = static_cast<const char*>(rowB(first + i * kRowsApart));
    // Rows that one thread copies lie kRowsApart apart, a multiple of 8: they swizzle alike.
    const uint32_t place = swizzled<kRowBytes>(first, chunk);

    auto fetch = [&](int stage, int step) {
      const uint32_t at = base + stage * kStageBytes + place;
      const int from = step * kStep + chunk * 8;
      const int left = min(max(k - from, 0), 8);
      auto copy = [&](uint32_t to, const char* row, bool aligned) {
        if (aligned) {
          copyAsync16(to, row == nullptr ? safe : row + i64{from} * 2, row == nullptr ? 0 : left * 2);
        } else {
          uint32_t w[4] = {0, 0, 0, 0};
          if (row != nullptr) {
            const unsigned short* p = reinterpret_cast<const unsigned short*>(row) + from;
#pragma unroll
            for (int i = 0; i < 8; i++) {
              if (i < left) w[i / 2] |= static_cast<uint32_t>(p[i]) << (i % 2 * 16);
            }
          }
          asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(to), "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]) : "memory");
        }
      };
#pragma unroll
      for (int i = 0; i < kCopiesA; i++) copy(at + i * (kRowsApart * kRowBytes), a[i], alignedA);
#pragma unroll
      for (int i = 0; i < kCopiesB; i++) copy(at + (kRows + i * kRowsApart) * kRowBytes, b[i], alignedB);
    };

#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int n = 0; n < kN; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) sum[m][n][i] = 0.0f;
    [[maybe_unused]] float total[kStepsOfSum > 0 ? kM : 1][kStepsOfSum > 0 ? kN : 1][4] = {};

    const int steps = (k + kStep - 1) / kStep;
#pragma unroll
    for (int s = 0; s < kStages - 1; s++) {
      if (s < steps) fetch(s, s);
      commitCopies();
    }
    const int lane = thread % 32;
    const int warpM = thread / 32 / kWarpsN * (kM * 16);
    const int warpN = thread / 32 % kWarpsN * (kN * 8);
    int stage = 0;
    for (int step = 0; step < steps; step++) {
      awaitCopies<kStages - 2>();
      __syncthreads();  // this step's data is there, and nobody reads the buffer that is filled next
      int next = step + kStages - 1;
      if (next < steps) fetch(stage == 0 ? kStages - 1 : stage - 1, next);
      commitCopies();
      const uint32_t atA = base + stage * kStageBytes;
      const uint32_t atB = atA + kRows * kRowBytes;
#pragma unroll
      for (int kk = 0; kk < kStep / 16; kk++) {
        uint32_t fa[kM][4];
#pragma unroll
        for (int m = 0; m < kM; m++) {
          loadA<kRowBytes>(fa[m], atA, warpM + m * 16, kk * 2, lane);
        }
#pragma unroll
        for (int n = 0; n < kN; n += 2) {
          uint32_t fb[4];
          loadB<kRowBytes>(fb, atB, warpN + n * 8, kk * 2, lane);
#pragma unroll
          for (int m = 0; m < kM; m++) {
            multiplyAdd<E>(sum[m][n], fa[m], fb[0], fb[1]);
            multiplyAdd<E>(sum[m][n + 1], fa[m], fb[2], fb[3]);
          }
        }
      }
      if constexpr (kStepsOfSum > 0) {
        if ((step + 1) % kStepsOfSum == 0 || step + 1 == steps) {
#pragma unroll
          for (int m = 0; m < kM; m++)
#pragma unroll
            for (int n = 0; n < kN; n++)
#pragma unroll
              for (int i = 0; i < 4; i++) {
                total[m][n][i] += sum[m][n][i];
                sum[m][n][i] = 0.0f;
              }
        }
      }
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }
    awaitCopies<0>();
    if constexpr (kStepsOfSum > 0) {
#pragma unroll
      for (int m = 0; m < kM; m++)
#pragma unroll
        for (int n = 0; n < kN; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) sum[m][n][i] = total[m][n][i];
    }
  }
};

// Four neighbouring elements of a row, from element k on; those from `end` on, and all of a row that is null, are 0.
__device__ __forceinline__ void loadFour(float (&v)[4], const void* row, int type, bool aligned, int k, int end) {
  v[0] = v[1] = v[2] = v[3] = 0.0f;
  if (row == nullptr || k >= end) return;
  if (aligned && k + 4 <= end) {
    if (type == kF32) {
      float4 q = *reinterpret_cast<const float4*>(static_cast<const float*>(row) + k);
      v[0] = q.x; v[1] = q.y; v[2] = q.z; v[3] = q.w;
    } else {
      uint2 q = *reinterpret_cast<const uint2*>(static_cast<const unsigned short*>(row) + k);
      v[0] = Any::widen(q.x & 0xffffu, type); v[1] = Any::widen(q.x >> 16, type);
      v[2] = Any::widen(q.y & 0xffffu, type); v[3] = Any::widen(q.y >> 16, type);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (k + i < end) {
      Row<Any, 1> r;
      r.load<false>(row, k + i, type);
      v[i] = Any::widen(r.w[0], type);
    }
  }
}

struct FmaTile {
  static constexpr int kRows = 64;
  static constexpr int kColumns = 64;
  static constexpr int kThreads = 256;
  static constexpr int kStep = 16;
  static constexpr int kPitch = 68;  // 16-byte aligned, and columns 4 banks apart

  struct Shared {
    float a[2][kStep][kPitch];
    float b[2][kStep][kPitch];
  };

  float sum[4][4];

  static __device__ __forceinline__ int row(int i) { return threadIdx.x / 16 * 4 + i; }
  static __device__ __forceinline__ int column(int j) { return threadIdx.x % 16 * 4 + j; }

  template <class RowA, class RowB>
  __device__ __forceinline__ void run(Shared& s, RowA rowA, RowB rowB, int k, int typeA, int typeB, bool alignedA, bool alignedB) {
    const int fetched = threadIdx.x / 4;
    const int part = threadIdx.x % 4 * 4;
    const void* a = rowA(fetched);
    const void* b = rowB(fetched);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) sum[i][j] = 0.0f;
    float va[4], vb[4];
    auto fetch = [&](int step) {
      loadFour(va, a, typeA, alignedA, step * kStep + part, k);
      loadFour(vb, b, typeB, alignedB, step * kStep + part, k);
    };
    auto put = [&](int buffer) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        s.a[buffer][part + i][fetched] = va[i];
        s.b[buffer][part + i][fetched] = vb[i];
      }
    };
    const int steps = (k + kStep - 1) / kStep;
    fetch(0);
    put(0);
    for (int step = 0; step < steps; step++) {
      __syncthreads();
      if (step + 1 < steps) fetch(step + 1);
      const int buffer = step & 1;
#pragma unroll
      for (int kk = 0; kk < kStep; kk++) {
        float4 x = *reinterpret_cast<const float4*>(&s.a[buffer][kk][row(0)]);
        float4 y = *reinterpret_cast<const float4*>(&s.b[buffer][kk][column(0)]);
        const float xs[4] = {x.x, x.y, x.z, x.w};
        const float ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
          for (int j = 0; j < 4; j++) sum[i][j] = fmaf(xs[i], ys[j], sum[i][j]);
      }
      if (step + 1 < steps) put(buffer ^ 1);  // last read before this step's barrier
    }
  }
};

}  // namespace weft
