// Elements and rows: how kernels read and write values of the storage types F32, F16 and BF16.
//
// A Row<E, V> is V neighbouring channels of one token, kept as the bits that memory holds (so that
// copies are exact, NaN payloads included) and widened to float where a value is needed. E is the
// element type: fixed (F32, F16, Bf16), or Any, whose type is a launch parameter. Any has V = 1 only;
// it serves every combination of types that has no kernel of its own.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace weft {

using i64 = long long;

// As TypeCodes.java has them.
enum Type : int { kF32 = 0, kF16 = 1, kBf16 = 2 };

__device__ __forceinline__ float widenF16(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}
__device__ __forceinline__ float widenBf16(uint32_t bits) { return __uint_as_float(bits << 16); }
__device__ __forceinline__ uint32_t narrowF16(float v) { return __half_as_ushort(__float2half_rn(v)); }
__device__ __forceinline__ uint32_t narrowBf16(float v) { return __bfloat16_as_ushort(__float2bfloat16_rn(v)); }

struct F32 {
  static constexpr int kBytes = 4;
  static __device__ __forceinline__ float widen(uint32_t bits, int) { return __uint_as_float(bits); }
  static __device__ __forceinline__ uint32_t narrow(float v, int) { return __float_as_uint(v); }
};
struct F16 {
  static constexpr int kBytes = 2;
  static __device__ __forceinline__ float widen(uint32_t bits, int) { return widenF16(bits); }
  static __device__ __forceinline__ uint32_t narrow(float v, int) { return narrowF16(v); }
  static __device__ __forceinline__ uint32_t narrowPair(float low, float high) {  // one instruction
    __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
  }
};
struct Bf16 {
  static constexpr int kBytes = 2;
  static __device__ __forceinline__ float widen(uint32_t bits, int) { return widenBf16(bits); }
  static __device__ __forceinline__ uint32_t narrow(float v, int) { return narrowBf16(v); }
  static __device__ __forceinline__ uint32_t narrowPair(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
  }
};
struct Any {
  static constexpr int kBytes = 0;
  static __device__ __forceinline__ float widen(uint32_t bits, int type) {
    return type == kF32 ? __uint_as_float(bits) : type == kF16 ? widenF16(bits) : widenBf16(bits);
  }
  static __device__ __forceinline__ uint32_t narrow(float v, int type) {
    return type == kF32 ? __float_as_uint(v) : type == kF16 ? narrowF16(v) : narrowBf16(v);
  }
};

template <class E, int V>
struct Row {
  static constexpr int kBytes = E::kBytes * V;
  static constexpr int kWords = kBytes <= 4 ? 1 : kBytes / 4;
  static_assert(E::kBytes != 0 || V == 1, "rows of a type known at run time are one channel wide");
  uint32_t w[kWords];

  __device__ __forceinline__ void zero() {
#pragma unroll
    for (int i = 0; i < kWords; i++) w[i] = 0;
  }

  // The bits of channel i, which is a compile-time constant wherever this is called.
  __device__ __forceinline__ uint32_t bits(int i) const {
    if constexpr (E::kBytes == 2) {
      return (i & 1) ? w[i >> 1] >> 16 : w[i >> 1] & 0xffffu;
    } else {
      return w[i];
    }
  }

  // Adds the bits of channel i to a row that was zeroed.
  __device__ __forceinline__ void put(int i, uint32_t b) {
    if constexpr (E::kBytes == 2) {
      w[i >> 1] |= (i & 1) ? b << 16 : b;
    } else {
      w[i] = b;
    }
  }

  __device__ __forceinline__ void widen(float (&v)[V], int type) const {
#pragma unroll
    for (int i = 0; i < V; i++) v[i] = E::widen(bits(i), type);
  }

  __device__ __forceinline__ void narrow(const float (&v)[V], int type) {
    if constexpr (E::kBytes == 2 && V % 2 == 0) {
#pragma unroll
      for (int i = 0; i < kWords; i++) w[i] = E::narrowPair(v[2 * i], v[2 * i + 1]);
    } else {
#pragma unroll
      for (int i = 0; i < V; i++) w[i] = E::narrow(v[i], type);
    }
  }

  // kCached: through the read-only path, for memory that nobody writes during the launch.
  template <bool kCached>
  __device__ __forceinline__ void load(const void* base, i64 element, int type) {
    if constexpr (E::kBytes == 0) {
      if (type == kF32) {
        w[0] = kCached ? __ldg(static_cast<const uint32_t*>(base) + element) : static_cast<const uint32_t*>(base)[element];
      } else {
        w[0] = kCached ? __ldg(static_cast<const unsigned short*>(base) + element) : static_cast<const unsigned short*>(base)[element];
      }
    } else {
      const char* p = static_cast<const char*>(base) + element * E::kBytes;
      if constexpr (kBytes == 16) {
        uint4 q = kCached ? __ldg(reinterpret_cast<const uint4*>(p)) : *reinterpret_cast<const uint4*>(p);
        w[0] = q.x; w[1] = q.y; w[2] = q.z; w[3] = q.w;
      } else if constexpr (kBytes == 8) {
        uint2 q = kCached ? __ldg(reinterpret_cast<const uint2*>(p)) : *reinterpret_cast<const uint2*>(p);
        w[0] = q.x; w[1] = q.y;
      } else if constexpr (kBytes == 4) {
        w[0] = kCached ? __ldg(reinterpret_cast<const uint32_t*>(p)) : *reinterpret_cast<const uint32_t*>(p);
      } else {
        w[0] = kCached ? __ldg(reinterpret_cast<const unsigned short*>(p)) : *reinterpret_cast<const unsigned short*>(p);
      }
    }
  }

  __device__ __forceinline__ void store(void* base, i64 element, int type) const {
    if constexpr (E::kBytes == 0) {
      if (type == kF32) {
        static_cast<uint32_t*>(base)[element] = w[0];
      } else {
        static_cast<unsigned short*>(base)[element] = static_cast<unsigned short>(w[0]);
      }
    } else {
      char* p = static_cast<char*>(base) + element * E::kBytes;
      if constexpr (kBytes == 16) {
        *reinterpret_cast<uint4*>(p) = make_uint4(w[0], w[1], w[2], w[3]);
      } else if constexpr (kBytes == 8) {
        *reinterpret_cast<uint2*>(p) = make_uint2(w[0], w[1]);
      } else if constexpr (kBytes == 4) {
        *reinterpret_cast<uint32_t*>(p) = w[0];
      } else {
        *reinterpret_cast<unsigned short*>(p) = static_cast<unsigned short>(w[0]);
      }
    }
  }

  // The same values in another storage type: the bits themselves where the types are one, else rounded once.
  __device__ __forceinline__ Row converted(int from, int to) const {
    if constexpr (E::kBytes != 0) {
      return *this;
    } else {
      Row r = *this;
      if (from != to) r.w[0] = E::narrow(E::widen(w[0], from), to);
      return r;
    }
  }
};

}  // namespace weft
