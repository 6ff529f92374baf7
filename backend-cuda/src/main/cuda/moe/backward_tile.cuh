// Tiles of matrix products for the backward pass: C[m, n] = sum over k of A[m, k] B[k, n], 128 x 128 a block of
// 256 threads, left in shared memory as F32 so that an epilogue may walk it row by row.
//
// An operand lies in memory as rows of contiguous elements, in one of two forms:
//   by k      a row is one m (or n), its elements run along k
//   along k   a row is one k, its elements run along m (or n)
// Backward needs all of them: dA = dy W2 and dX = dz W13 read weights along k, the gradients of weights read both
// operands along k. Rows are gathered (tokens of slots), split in two (gate and up rows) or plain; those that are
// not there count as zeros and are never read.
//
//   TensorTile   two equal 16-bit types, mma.sync m16n8k16, three stages of 64 k filled by cp.async. Both forms
//                reach the fragments by ldmatrix, with .trans for operands along k. 16-byte chunks are XORed with
//                the low bits of their row, so that the eight rows of an 8 x 8 matrix lie in different banks.
//                8 warps, 2 x 4, of 64 x 32 each.
//   FloatTile    any types, F32 products; two stages of 16 k, 8 x 8 products a thread.
#pragma once
#include <climits>
#include <type_traits>

#include "../common/mma.cuh"
#include "../common/rows.cuh"

namespace weft {
namespace moe_backward {

constexpr int kTile = 128;  // rows of a block's tile, and columns but where a kind of tile says otherwise
constexpr int kThreads = 256;

// Floats from a row of a finished tile to the next; 8 more than it has put a fragment's rows in different banks.
template <int kColumns>
constexpr int kPitch = kColumns + 8;
template <int kColumns>
constexpr int kTileBytes = kTile * kPitch<kColumns> * 4;

__device__ __forceinline__ int bytesOf(int type) { return type == kF32 ? 4 : 2; }

__device__ __forceinline__ float loadElement(const char* p, int type) {
  return type == kF32 ? *reinterpret_cast<const float*>(p)
                      : Any::widen(*reinterpret_cast<const unsigned short*>(p), type);
}

__device__ __forceinline__ bool isAligned(const void* p, int bytes) {
  return (reinterpret_cast<uintptr_t>(p) & (bytes - 1)) == 0;
}

// Four neighbouring elements, of which `valid` are there.
__device__ __forceinline__ float4 load4(const char* p, int type, int valid) {
  float4 v = make_float4(0, 0, 0, 0);
  if (valid >= 4 && isAligned(p, type == kF32 ? 16 : 8)) {
    if (type == kF32) return *reinterpret_cast<const float4*>(p);
    uint2 w = *reinterpret_cast<const uint2*>(p);
    return make_float4(Any::widen(w.x & 0xffffu, type), Any::widen(w.x >> 16, type),
                       Any::widen(w.y & 0xffffu, type), Any::widen(w.y >> 16, type));
  }
  int bytes = bytesOf(type);
  if (valid > 0) v.x = loadElement(p, type);
  if (valid > 1) v.y = loadElement(p + bytes, type);
  if (valid > 2) v.z = loadElement(p + 2 * bytes, type);
  if (valid > 3) v.w = loadElement(p + 3 * bytes, type);
  return v;
}

__device__ __forceinline__ void storeElement(char* p, int type, float v) {
  if (type == kF32) {
    *reinterpret_cast<float*>(p) = v;
  } else {
    *reinterpret_cast<unsigned short*>(p) = static_cast<unsigned short>(Any::narrow(v, type));
  }
}

__device__ __forceinline__ void store4(char* p, int type, float4 v, int valid) {
  if (valid >= 4 && isAligned(p, type == kF32 ? 16 : 8)) {
    if (type == kF32) {
      *reinterpret_cast<float4*>(p) = v;
    } else {
      *reinterpret_cast<uint2*>(p) = make_uint2(Any::narrow(v.x, type) | Any::narrow(v.y, type) << 16,
                                                Any::narrow(v.z, type) | Any::narrow(v.w, type) << 16);
    }
    return;
  }
  int bytes = bytesOf(type);
  if (valid > 0) storeElement(p, type, v.x);
  if (valid > 1) storeElement(p + bytes, type, v.y);
  if (valid > 2) storeElement(p + 2 * bytes, type, v.z);
  if (valid > 3) storeElement(p + 3 * bytes, type, v.w);
}

// Rows of an operand. Row r is memory row first + r, or index[first + r] (below 0: not there); memory rows from
// `split` on lie at b.
struct Rows {
  const char* a;
  const char* b;
  i64 pitchA, pitchB;  // bytes
  const int* index;
  int split;
  int first, count;
  int type;

  __device__ __forceinline__ const char* row(int r) const {
    if (r >= count) return nullptr;
    int i = first + r;
    if (index) i = index[i];
    return i < 0 ? nullptr : at(i);
  }
  __device__ __forceinline__ const char* at(int i) const { return i < split ? a + i * pitchA : b + (i - split) * pitchB; }
};

// An operand of a tile. By k: rows start.. of the operand, `extent` elements (that is K) each. Along k: as many
// rows as K, of which the elements start.. up to extent.
struct Operand {
  Rows rows;
  int start, extent;
};

// ---- 16 bits: tensor cores -----------------------------------------------------------------------------------

// A thread's share of the copies of an operand: one column of chunks in kChunks rows, kStep apart. Stages hold 64 k,
// in rows of 128 bytes (swizzled): by k, a row for each of kWidth m (or n); along k, slabs of 64 m (or n) with a row
// for each k. Copies go through k in order. The numbers of gathered rows are read a stage ahead, and nothing
// branches where an operand is aligned, so that a thread's copies do not wait for one another.
template <bool kByK, int kWidth>
struct Copier {
  static constexpr int kDepth = 64;
  static constexpr int kSlabBytes = 64 * kDepth * 2;
  static constexpr int kBytes = kWidth * kDepth * 2;
  static constexpr int kRowChunks = kByK ? kDepth / 8 : kWidth / 8;
  static constexpr int kStep = kThreads / kRowChunks;
  static constexpr int kChunks = kWidth * kDepth / 8 / kThreads;

  const char* lines[kByK ? kChunks : 1];
  int rows[kByK ? 1 : kChunks];  // of the next copy; -1: not there
  bool aligned;

  __device__ __forceinline__ static int line() { return threadIdx.x / kRowChunks; }
  __device__ __forceinline__ static int chunk() { return threadIdx.x % kRowChunks; }

  __device__ __forceinline__ void prepare(const Operand& o) {
    aligned = ((reinterpret_cast<uintptr_t>(o.rows.a) | reinterpret_cast<uintptr_t>(o.rows.b) | o.rows.pitchA |
                o.rows.pitchB) & 15) == 0;
    if constexpr (kByK) {
#pragma unroll
      for (int j = 0; j < kChunks; j++) lines[j] = o.rows.row(o.start + line() + j * kStep);
    } else {
      find(o, 0);
    }
  }

  __device__ __forceinline__ void find(const Operand& o, int k) {
#pragma unroll
    for (int j = 0; j < kChunks; j++) {
      int r = k + line() + j * kStep;
      rows[j] = r < o.rows.count ? (o.rows.index ? __ldg(o.rows.index + o.rows.first + r) : o.rows.first + r) : -1;
    }
  }

  __device__ __forceinline__ const char* row(const Operand& o, int j) const {
    if constexpr (kByK) {
      return lines[j];
    } else {
      return rows[j] < 0 ? nullptr : o.rows.at(rows[j]);
    }
  }

  __device__ __forceinline__ void copy(const Operand& o, int k, char* target) {
    int at = kByK ? k + chunk() * 8 : o.start + chunk() * 8;
    int within = min(max(o.extent - at, 0), 8);
    char* to = target + (kByK ? 0 : chunk() / 8 * kSlabBytes);
    if (aligned) {
#pragma unroll
      for (int j = 0; j < kChunks; j++) {
        const char* source = row(o, j);
        int valid = source ? within : 0;
        source = valid ? source + static_cast<i64>(at) * 2 : o.rows.a;
        copyAsync16(sharedAddress(to) + swizzled<128>(line() + j * kStep, chunk() % 8), source, valid * 2);
      }
    } else {
#pragma unroll 1
      for (int j = 0; j < kChunks; j++) {
        const char* source = kByK ? o.rows.row(o.start + line() + j * kStep) : o.rows.row(k + line() + j * kStep);
        copyElements(to + swizzled<128>(line() + j * kStep, chunk() % 8), source, at, source ? within : 0);
      }
    }
    if constexpr (!kByK) find(o, k + kDepth);
  }

  // Eight elements of which `valid` are there, one by one.
  __device__ __forceinline__ static void copyElements(char* target, const char* row, int at, int valid) {
    const unsigned short* s = reinterpret_cast<const unsigned short*>(row) + at;
    uint32_t w[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      uint32_t low = 2 * i < valid ? s[2 * i] : 0;
      uint32_t high = 2 * i + 1 < valid ? s[2 * i + 1] : 0;
      w[i] = low | high << 16;
    }
    *reinterpret_cast<uint4*>(target) = make_uint4(w[0], w[1], w[2], w[3]);
  }
};

template <class E, bool kAByK, bool kBByK>
struct TensorTile {
  static constexpr int kColumns = kTile;
  static constexpr bool kLowParts = std::is_same_v<E, F16>;  // see lowPart of backward.cuh
  static constexpr int kDepth = 64;  // k of a stage
  static constexpr int kStages = 3;
  static constexpr int kOperandBytes = Copier<true, kTile>::kBytes;
  static constexpr int kSlabBytes = Copier<true, kTile>::kSlabBytes;
  static constexpr int kStageBytes = 2 * kOperandBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  static_assert(kSharedBytes >= kTileBytes<kColumns>, "a finished tile lies where the stages were");
  struct Sums {
    float c[4][4][4];

    __device__ __forceinline__ void scale(float factor) {
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
          for (int v = 0; v < 4; v++) c[i][j][v] *= factor;
    }
  };

  // Adds a product to sums.
  static __device__ __forceinline__ void add(Sums& sums, const Operand& a, const Operand& b, int depth, char* shared) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int warpM = (warp >> 2) * 64, warpN = (warp & 3) * 32;
    const uint32_t base = sharedAddress(shared);
    Copier<kAByK, kTile> copyA;
    Copier<kBByK, kTile> copyB;
    copyA.prepare(a);
    copyB.prepare(b);
    const int steps = (depth + kDepth - 1) / kDepth;
#pragma unroll
    for (int s = 0; s < kStages - 1; s++) {
      if (s < steps) {
        copyA.copy(a, s * kDepth, shared + s * kStageBytes);
        copyB.copy(b, s * kDepth, shared + s * kStageBytes + kOperandBytes);
      }
      commitCopies();
    }
    int slot = 0, free = kStages - 1;
    for (int step = 0; step < steps; step++) {
      awaitCopies<kStages - 2>();
      __syncthreads();  // this stage has landed, and everyone is done with the one before
      int next = step + kStages - 1;
      if (next < steps) {
        int offset = free * kStageBytes;
        copyA.copy(a, next * kDepth, shared + offset);
        copyB.copy(b, next * kDepth, shared + offset + kOperandBytes);
      }
      commitCopies();
      const uint32_t atA = base + slot * kStageBytes, atB = atA + kOperandBytes;
#pragma unroll
      for (int k = 0; k < kDepth / 16; k++) {
        uint32_t fa[4][4], fb[2][4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if constexpr (kAByK) {
            loadA<128>(fa[i], atA, warpM + i * 16, k * 2, lane);
          } else {
            loadATransposed<128>(fa[i], atA + warpM / 64 * kSlabBytes, k * 16, i * 2, lane);
          }
        }
#pragma unroll
        for (int j = 0; j < 2; j++) {
          if constexpr (kBByK) {
            loadB<128>(fb[j], atB, warpN + j * 16, k * 2, lane);
          } else {
            loadBTransposed<128>(fb[j], atB + warpN / 64 * kSlabBytes, k * 16, warpN % 64 / 8 + j * 2, lane);
          }
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
          for (int j = 0; j < 4; j++) multiplyAdd<E>(sums.c[i][j], fa[i], fb[j >> 1][(j & 1) * 2], fb[j >> 1][(j & 1) * 2 + 1]);
      }
      slot = slot + 1 == kStages ? 0 : slot + 1;
      free = free + 1 == kStages ? 0 : free + 1;
    }
    awaitCopies<0>();
    __syncthreads();
  }

  // Leaves the tile in shared memory, seen by all threads.
  static __device__ __forceinline__ void finish(const Sums& sums, char* shared) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int warpM = (warp >> 2) * 64, warpN = (warp & 3) * 32;
    const auto& c = sums.c;
    float* tile = reinterpret_cast<float*>(shared);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float* at = tile + (warpM + i * 16 + lane / 4) * kPitch<kColumns> + warpN + j * 8 + (lane & 3) * 2;
        *reinterpret_cast<float2*>(at) = make_float2(c[i][j][0], c[i][j][1]);
        *reinterpret_cast<float2*>(at + 8 * kPitch<kColumns>) = make_float2(c[i][j][2], c[i][j][3]);
      }
    __syncthreads();
  }
};

// ---- any types: F32 products ---------------------------------------------------------------------------------

template <bool kAByK, bool kBByK>
struct FloatTile {
  static constexpr int kColumns = kTile;
  static constexpr bool kLowParts = false;
  static constexpr int kDepth = 16;
  static constexpr int kLine = kTile + 4;  // floats from one k to the next
  static constexpr int kOperand = kDepth * kLine;
  static constexpr int kSharedBytes = kTileBytes<kColumns>;
  static_assert(kSharedBytes >= 4 * kOperand * 4, "a finished tile lies where the stages were");

  // A thread copies eight neighbouring elements of one row.
  template <bool kByK>
  struct Copier {
    const char* line;
    float v[8];

    __device__ __forceinline__ static int row() { return kByK ? threadIdx.x / 2 : threadIdx.x / 16; }
    __device__ __forceinline__ static int column() { return kByK ? threadIdx.x % 2 * 8 : threadIdx.x % 16 * 8; }

    __device__ __forceinline__ void prepare(const Operand& o) {
      if constexpr (kByK) line = o.rows.row(o.start + row());
    }

    __device__ __forceinline__ void load(const Operand& o, int k) {
      const char* source = kByK ? line : o.rows.row(k + row());
      int at = kByK ? k + column() : o.start + column();
      int valid = source ? o.extent - at : 0;
      const char* p = source + static_cast<i64>(at) * bytesOf(o.rows.type);
#pragma unroll
      for (int i = 0; i < 8; i += 4) {
        float4 q = valid > i ? load4(p + i * bytesOf(o.rows.type), o.rows.type, valid - i) : make_float4(0, 0, 0, 0);
        v[i] = q.x; v[i + 1] = q.y; v[i + 2] = q.z; v[i + 3] = q.w;
      }
    }

    __device__ __forceinline__ void store(float* operand) const {
      if constexpr (kByK) {
#pragma unroll
        for (int i = 0; i < 8; i++) operand[(column() + i) * kLine + row()] = v[i];
      } else {
        float4* at = reinterpret_cast<float4*>(operand + row() * kLine + column());
        at[0] = make_float4(v[0], v[1], v[2], v[3]);
        at[1] = make_float4(v[4], v[5], v[6], v[7]);
      }
    }
  };

  struct Sums {
    float c[8][8];

    __device__ __forceinline__ void scale(float factor) {
#pragma unroll
      for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) c[i][j] *= factor;
    }
  };

  static __device__ __forceinline__ void add(Sums& sums, const Operand& a, const Operand& b, int depth, char* shared) {
    float* stage = reinterpret_cast<float*>(shared);
    const int tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
    Copier<kAByK> copyA;
    Copier<kBByK> copyB;
    copyA.prepare(a);
    copyB.prepare(b);
    const int steps = (depth + kDepth - 1) / kDepth;
    if (steps > 0) {
      copyA.load(a, 0);
      copyB.load(b, 0);
      copyA.store(stage);
      copyB.store(stage + kOperand);
      __syncthreads();
    }
    for (int step = 0; step < steps; step++) {
      bool more = step + 1 < steps;
      if (more) {
        copyA.load(a, (step + 1) * kDepth);
        copyB.load(b, (step + 1) * kDepth);
      }
      const float* atA = stage + (step & 1) * 2 * kOperand;
      const float* atB = atA + kOperand;
#pragma unroll
      for (int k = 0; k < kDepth; k++) {
        float fa[8], fb[8];
        *reinterpret_cast<float4*>(fa) = *reinterpret_cast<const float4*>(atA + k * kLine + ty * 4);
        *reinterpret_cast<float4*>(fa + 4) = *reinterpret_cast<const float4*>(atA + k * kLine + 64 + ty * 4);
        *reinterpret_cast<float4*>(fb) = *reinterpret_cast<const float4*>(atB + k * kLine + tx * 4);
        *reinterpret_cast<float4*>(fb + 4) = *reinterpret_cast<const float4*>(atB + k * kLine + 64 + tx * 4);
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
          for (int j = 0; j < 8; j++) sums.c[i][j] = fmaf(fa[i], fb[j], sums.c[i][j]);
      }
      if (more) {
        float* other = stage + ((step + 1) & 1) * 2 * kOperand;  // everyone left it before the last barrier
        copyA.store(other);
        copyB.store(other + kOperand);
      }
      __syncthreads();
    }
  }

  static __device__ __forceinline__ void finish(const Sums& sums, char* shared) {
    const int tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
    const auto& c = sums.c;
    float* tile = reinterpret_cast<float*>(shared);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      float* at = tile + ((i & 4) * 16 + ty * 4 + (i & 3)) * kPitch<kColumns> + tx * 4;
      *reinterpret_cast<float4*>(at) = make_float4(c[i][0], c[i][1], c[i][2], c[i][3]);
      *reinterpret_cast<float4*>(at + 64) = make_float4(c[i][4], c[i][5], c[i][6], c[i][7]);
    }
    __syncthreads();
  }
};

// One product, left in shared memory.
template <class Tile>
__device__ __forceinline__ void product(const Operand& a, const Operand& b, int depth, char* shared) {
  typename Tile::Sums sums = {};
  Tile::add(sums, a, b, depth, shared);
  Tile::finish(sums, shared);
}

}  // namespace moe_backward
}  // namespace weft
