// Tiles of rows in shared memory, and the two products of attention on fragments of a warp.
//
// A warp owns kRowTiles x 16 rows of queries. Scores and sums lie as C fragments (mma.cuh): lane l holds rows
// l / 4 and l / 4 + 8, columns 8j + 2(l % 4) and the next. F32 has the same layout, computed by FMA, so that all
// else is written once.
//
// Layout of a tile of DP columns: 16-bit rows swizzled as mma.cuh has it, F32 rows padded by 16 bytes. DP is the
// head size rounded up; columns beyond it are zero.
#pragma once
#include <type_traits>

#include "forward.cuh"

namespace weft::moba {

template <class E, int DP>
struct RowLayout {
  static constexpr int kPerChunk = 16 / E::kBytes;
  static constexpr int kChunks = DP / kPerChunk;
  static constexpr int kRowBytes = DP * E::kBytes + (E::kBytes == 4 ? 16 : 0);

  static __device__ __forceinline__ uint32_t at(int row, int chunk) {
    if constexpr (E::kBytes == 4) {
      return static_cast<uint32_t>(row) * kRowBytes + (static_cast<uint32_t>(chunk) << 4);
    } else {
      return swizzled<kRowBytes>(row, chunk);
    }
  }

  // Columns 8j + 2q and the next of a row.
  static __device__ __forceinline__ uint32_t pairAt(int row, int j, int q) {
    if constexpr (E::kBytes == 4) {
      return at(row, 2 * j + (q >> 1)) + ((q & 1) << 3);
    } else {
      return at(row, j) + (q << 2);
    }
  }

  // Bytes of a chunk that a row of `width` elements has.
  static __device__ __forceinline__ int chunkBytes(int chunk, int width) {
    return min(max((width - chunk * kPerChunk) * E::kBytes, 0), 16);
  }

  // Brings a chunk's first `bytes` bytes to shared memory, zeros behind them. `from` need not be aligned unless
  // `vector`; it is not read where bytes is 0, but must be an address.
  static __device__ __forceinline__ void load(char* to, const char* from, int bytes, bool vector) {
    if (vector) {
      copyAsync16(sharedAddress(to), from, bytes);
      return;
    }
    uint32_t w[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < kPerChunk; i++) {
      if (i * E::kBytes < bytes) {
        if constexpr (E::kBytes == 4) {
          w[i] = __ldg(reinterpret_cast<const uint32_t*>(from) + i);
        } else {
          uint32_t bits = __ldg(reinterpret_cast<const unsigned short*>(from) + i);
          w[i >> 1] |= (i & 1) ? bits << 16 : bits;
        }
      }
    }
    *reinterpret_cast<uint4*>(to) = make_uint4(w[0], w[1], w[2], w[3]);
  }

  // Loads a tile of kRows rows by kThreads threads: each takes one chunk of every kStep-th row. row(i) is null
  // where a row is absent: it becomes zeros.
  template <int kRows, int kThreads, class Row>
  static __device__ __forceinline__ void loadTile(char* tile, const void* anywhere, int width, bool vector, Row row) {
    constexpr int kStep = kThreads / kChunks;
    int first = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks, bytes = chunkBytes(chunk, width);
#pragma unroll
    for (int i = 0; i < kRows; i += kStep) {
      if (kRows % kStep != 0 && first + i >= kRows) break;
      const char* from = row(first + i);
      load(tile + at(first + i, chunk), from == nullptr ? static_cast<const char*>(anywhere) : from + chunk * 16,
           from == nullptr ? 0 : bytes, vector);
    }
  }
};

// s[.][j] = rows of `q` from `row` times rows of `k`, over `dim` columns.
template <class E, int DP, int kRowTiles, int N>
__device__ __forceinline__ void scores(float (&s)[kRowTiles][N / 8][4], const char* q, int row, const char* k, int dim,
                                       int lane) {
  using L = RowLayout<E, DP>;
#pragma unroll
  for (int m = 0; m < kRowTiles; m++) {
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) s[m][j][e] = 0;
    }
  }
  if constexpr (E::kBytes == 2) {
    uint32_t qTile = sharedAddress(q), kTile = sharedAddress(k);
    // All columns, zeros too: a branch on the head size would keep loads from moving ahead of products.
#pragma unroll
    for (int c = 0; c < DP / 16; c++) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; m++) loadA<L::kRowBytes>(a[m], qTile, row + m * 16, 2 * c, lane);
#pragma unroll
      for (int n = 0; n < N / 16; n++) {
        uint32_t b[4];
        loadB<L::kRowBytes>(b, kTile, n * 16, 2 * c, lane);
#pragma unroll
        for (int m = 0; m < kRowTiles; m++) {
          multiplyAdd<E>(s[m][2 * n], a[m], b[0], b[1]);
          multiplyAdd<E>(s[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  } else {
    int g = lane >> 2, p = lane & 3;
    for (int c = 0; c * 4 < dim; c++) {
#pragma unroll
      for (int m = 0; m < kRowTiles; m++) {
        float4 x = *reinterpret_cast<const float4*>(q + L::at(row + m * 16 + g, c));
        float4 y = *reinterpret_cast<const float4*>(q + L::at(row + m * 16 + g + 8, c));
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
          float4 u = *reinterpret_cast<const float4*>(k + L::at(8 * j + 2 * p, c));
          float4 v = *reinterpret_cast<const float4*>(k + L::at(8 * j + 2 * p + 1, c));
          float(&d)[4] = s[m][j];
          d[0] = fmaf(x.w, u.w, fmaf(x.z, u.z, fmaf(x.y, u.y, fmaf(x.x, u.x, d[0]))));
          d[1] = fmaf(x.w, v.w, fmaf(x.z, v.z, fmaf(x.y, v.y, fmaf(x.x, v.x, d[1]))));
          d[2] = fmaf(y.w, u.w, fmaf(y.z, u.z, fmaf(y.y, u.y, fmaf(y.x, u.x, d[2]))));
          d[3] = fmaf(y.w, v.w, fmaf(y.z, v.z, fmaf(y.y, v.y, fmaf(y.x, v.x, d[3]))));
        }
      }
    }
  }
}

// o += p v on tensor cores, p rounded to the storage type. Keys of weight 0 must have finite values.
template <class E, int DP, int kRowTiles, int N>
__device__ __forceinline__ void accumulate(float (&o)[kRowTiles][DP / 8][4], const float (&p)[kRowTiles][N / 8][4],
                                           const char* v, int lane) {
  using L = RowLayout<E, DP>;
  uint32_t vTile = sharedAddress(v);
#pragma unroll
  for (int k = 0; k < N / 16; k++) {
    uint32_t a[kRowTiles][4];
#pragma unroll
    for (int m = 0; m < kRowTiles; m++) {
      a[m][0] = E::narrowPair(p[m][2 * k][0], p[m][2 * k][1]);
      a[m][1] = E::narrowPair(p[m][2 * k][2], p[m][2 * k][3]);
      a[m][2] = E::narrowPair(p[m][2 * k + 1][0], p[m][2 * k + 1][1]);
      a[m][3] = E::narrowPair(p[m][2 * k + 1][2], p[m][2 * k + 1][3]);
    }
#pragma unroll
    for (int c = 0; c < DP / 16; c++) {
      uint32_t b[4];
      loadBTransposed<L::kRowBytes>(b, vTile, k * 16, 2 * c, lane);
#pragma unroll
      for (int m = 0; m < kRowTiles; m++) {
        multiplyAdd<E>(o[m][2 * c], a[m], b[0], b[1]);
        multiplyAdd<E>(o[m][2 * c + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// The columns [from, to] of a tile that a row sees.
struct Seen {
  int from, to;
  __device__ __forceinline__ bool has(int column) const { return column >= from && column <= to; }
};

// The same by FMA, key after key, leaving out what a row does not see: values there may be NaN.
template <class E, int DP, int kRowTiles, int N>
__device__ __forceinline__ void accumulateSeen(float (&o)[kRowTiles][DP / 8][4], const float (&p)[kRowTiles][N / 8][4],
                                               const char* v, int valueDim, int lane, const Seen (&seen)[kRowTiles][2]) {
  using L = RowLayout<E, DP>;
  int q = lane & 3;
#pragma unroll
  for (int j = 0; j < N / 8; j++) {
#pragma unroll 1
    for (int i = 0; i < 8; i++) {
      int key = j * 8 + i, source = (lane & ~3) | (i >> 1);
      float x[kRowTiles], y[kRowTiles];
#pragma unroll
      for (int m = 0; m < kRowTiles; m++) {
        x[m] = __shfl_sync(~0u, (i & 1) ? p[m][j][1] : p[m][j][0], source);
        y[m] = __shfl_sync(~0u, (i & 1) ? p[m][j][3] : p[m][j][2], source);
      }
#pragma unroll
      for (int c = 0; c < DP / 8; c++) {
        if (c * 8 < valueDim) {
          float2 w;
          if constexpr (E::kBytes == 4) {
            w = *reinterpret_cast<const float2*>(v + L::pairAt(key, c, q));
          } else {
            uint32_t bits = *reinterpret_cast<const uint32_t*>(v + L::pairAt(key, c, q));
            w = make_float2(E::widen(bits & 0xffffu, 0), E::widen(bits >> 16, 0));
          }
#pragma unroll
          for (int m = 0; m < kRowTiles; m++) {
            if (seen[m][0].has(key)) {
              o[m][c][0] = fmaf(x[m], w.x, o[m][c][0]);
              o[m][c][1] = fmaf(x[m], w.y, o[m][c][1]);
            }
            if (seen[m][1].has(key)) {
              o[m][c][2] = fmaf(y[m], w.x, o[m][c][2]);
              o[m][c][3] = fmaf(y[m], w.y, o[m][c][3]);
            }
          }
        }
      }
    }
  }
}

// Whether 16 bytes hold an infinity or NaN of a 16-bit type.
template <class E>
__device__ __forceinline__ bool hasNonFinite(uint4 x) {
  constexpr uint32_t kLow = std::is_same_v<E, F16> ? 0x7c00u : 0x7f80u, kHigh = kLow << 16;
  auto any = [](uint32_t w) { return (w & kLow) == kLow || (w & kHigh) == kHigh; };
  return any(x.x) || any(x.y) || any(x.z) || any(x.w);
}

}  // namespace weft::moba
