// Rows and the arithmetic of the convolution: what the three kernels share.
//
// A kernel is compiled in one of two forms:
//   fixed   TYPE and VECTOR given: x, out and states have this type, a work-item owns VECTOR neighbouring channels,
//           there are TAPS taps. Rows are aligned to VECTOR elements.
//   any     types and width (at most TAPS) are launch arguments, a work-item owns one channel, elements are aligned to
//           themselves.
// TAPS is a specialisation constant of both. In the second form windows and taps are aligned to their newest end:
// entries below first = TAPS - width are zero and stay so. All indices into them are constants once loops are unrolled,
// so both forms keep them in registers.
#ifndef WEFT_CONV1D_ROWS
#define WEFT_CONV1D_ROWS

#ifdef TYPE
#define FIXED true
#else
#define FIXED false
#define VECTOR 1
#endif

#include "../common/types.glsl"

layout(constant_id = 0) const int TAPS = 4;
const int KEPT = TAPS - 1;  // rows of a window
// Rows on their way to registers. A multiple of W-1 in the fixed form, so that in the unrolled loop the window's rows
// change their names instead of moving.
const int AHEAD = FIXED ? (3 + KEPT - 1) / KEPT * KEPT : 4;

// Work-items of a group, which are independent of each other: they are numbered tile by tile, and within a tile channel
// by channel, `items` of them, so that none idles whatever the number of channels.
layout(local_size_x = 128) in;

int tile_of(int64_t number, int items, out int c) {
  uint64_t item = uint64_t(number);
  uint64_t tile = (item >> 32) != 0ul ? item / uint64_t(uint(items)) : uint64_t(uint(item) / uint(items));
  c = int(item - tile * uint64_t(uint(items))) * VECTOR;
  return int(tile);
}

// Neighbouring channels of a token as memory holds them, so that copies are exact, NaN payloads included.
#define ROW_BYTES (VECTOR * (TYPE == TYPE_F32 ? 4 : 2))
#if VECTOR == 8 || (VECTOR == 4 && TYPE == TYPE_F32)
#define Row uvec4
#define ROW_PLACE Words4
#elif VECTOR == 4 || (VECTOR == 2 && TYPE == TYPE_F32)
#define Row uvec2
#define ROW_PLACE Words2
#else
#define Row uint
#define ROW_PLACE Word
#endif

Row load_row(uint64_t p, int64_t i, int type) {
#if VECTOR > 1
  return ROW_PLACE(at(p, i, ROW_BYTES / VECTOR)).v;
#else
  return load_bits(p, i, type);
#endif
}

void store_row(uint64_t p, int64_t i, Row row, int type) {
#if VECTOR > 1
  ROW_PLACE(at(p, i, ROW_BYTES / VECTOR)).v = row;
#else
  store_bits(p, i, row, type);
#endif
}

// ---- values, in F32 --------------------------------------------------------------------------------------------

#if VECTOR == 8
struct Values { vec4 lo, hi; };
#define Part vec4
#define BOTH(lo_value, hi_value) Values(lo_value, hi_value)
#elif VECTOR == 4
#define Values vec4
#define Part vec4
#elif VECTOR == 2
#define Values vec2
#define Part vec2
#else
#define Values float
#define Part float
#endif

// sigmoid(v), and 1 - sigmoid(v) in `rest`, each to full relative precision: exp of what is never positive cannot
// overflow, and the square of its square root underflows by itself, where a device's exp may flush subnormals.
Part sigmoid_part(Part v, out Part rest) {
  Part half_power = exp(-0.5 * abs(v));
  Part e = half_power * half_power;
  Part r = 1.0 / (1.0 + e);
  Part er = e * r;
#if VECTOR == 1
  rest = v >= 0.0 ? er : r;
  return v >= 0.0 ? r : er;
#else
  rest = mix(r, er, greaterThanEqual(v, Part(0.0)));
  return mix(er, r, greaterThanEqual(v, Part(0.0)));
#endif
}
Part silu_part(Part v) {
  Part rest;
  return v * sigmoid_part(v, rest);
}
// dout times the slope of SiLU at pre.
Part slope_part(Part dout, Part pre) {
  Part rest;
  Part s = sigmoid_part(pre, rest);
  return dout * s * fma(pre, rest, Part(1.0));
}

#if VECTOR == 8
const Values ZERO = Values(vec4(0.0), vec4(0.0));
Values times(Values a, Values b) { return Values(a.lo * b.lo, a.hi * b.hi); }
Values plus(Values a, Values b) { return Values(a.lo + b.lo, a.hi + b.hi); }
Values times_plus(Values a, Values b, Values c) { return Values(fma(a.lo, b.lo, c.lo), fma(a.hi, b.hi, c.hi)); }
Values silu_of(Values v) { return Values(silu_part(v.lo), silu_part(v.hi)); }
Values silu_slope(Values dout, Values pre) { return Values(slope_part(dout.lo, pre.lo), slope_part(dout.hi, pre.hi)); }
#else
const Values ZERO = Values(0.0);
Values times(Values a, Values b) { return a * b; }
Values plus(Values a, Values b) { return a + b; }
Values times_plus(Values a, Values b, Values c) { return fma(a, b, c); }
Values silu_of(Values v) { return silu_part(v); }
Values silu_slope(Values dout, Values pre) { return slope_part(dout, pre); }
#endif

Values widen_row(Row row, int type) {
#if VECTOR == 1
  return widen(row, type);
#elif TYPE == TYPE_F32
  return uintBitsToFloat(row);
#elif VECTOR == 8
  return Values(widen4(row.xy, TYPE), widen4(row.zw, TYPE));
#elif VECTOR == 4
  return widen4(row, TYPE);
#else
  return widen2(row, TYPE);
#endif
}

#if VECTOR > 1 && TYPE == TYPE_BF16
// Pairs without a NaN, which must not round to infinity or zero: then rounding is an addition.
uint narrow_numbers2(vec2 v) {
  const uvec2 u = floatBitsToUint(v);
  const uvec2 r = u + 0x7fffu + ((u >> 16) & 1u);
  return (r.y & 0xffff0000u) | (r.x >> 16);
}
uvec2 narrow_numbers4(vec4 v) { return uvec2(narrow_numbers2(v.xy), narrow_numbers2(v.zw)); }
// False if there is one, or two infinities that cancel.
bool is_number(float sum) { return (floatBitsToUint(sum) & 0x7fffffffu) <= 0x7f800000u; }
#endif

Row narrow_row(Values v, int type) {
#if VECTOR == 8 && TYPE == TYPE_BF16
  const vec4 sums = v.lo + v.hi;
  if (is_number((sums.x + sums.y) + (sums.z + sums.w))) return uvec4(narrow_numbers4(v.lo), narrow_numbers4(v.hi));
#elif VECTOR == 4 && TYPE == TYPE_BF16
  if (is_number((v.x + v.y) + (v.z + v.w))) return narrow_numbers4(v);
#endif
#if VECTOR == 1
  return narrow(v, type);
#elif TYPE == TYPE_F32
  return floatBitsToUint(v);
#elif VECTOR == 8
  return uvec4(narrow4(v.lo, TYPE), narrow4(v.hi, TYPE));
#elif VECTOR == 4
  return narrow4(v, TYPE);
#else
  return narrow2(v, TYPE);
#endif
}

// The same values in another type: the bits themselves where the types are one, else rounded once.
Row converted(Row row, int from, int to) {
#if VECTOR > 1
  return row;
#else
  return from == to ? row : narrow(widen(row, from), to);
#endif
}

// A row's elements one by one; callers unroll.
void split_row(Row row, out uint bits[VECTOR]) {
#if VECTOR == 1
  bits[0] = row;
#elif TYPE == TYPE_F32
  [[unroll]] for (int i = 0; i < VECTOR; i++) bits[i] = row[i];
#elif VECTOR == 2
  bits[0] = row & 0xffffu;
  bits[1] = row >> 16;
#else
  [[unroll]] for (int i = 0; i < VECTOR; i += 2) {
    bits[i] = row[i / 2] & 0xffffu;
    bits[i + 1] = row[i / 2] >> 16;
  }
#endif
}

Row join_row(uint bits[VECTOR]) {
#if VECTOR == 1
  return bits[0];
#elif TYPE == TYPE_F32 && VECTOR == 4
  return uvec4(bits[0], bits[1], bits[2], bits[3]);
#elif TYPE == TYPE_F32
  return uvec2(bits[0], bits[1]);
#elif VECTOR == 2
  return bits[0] | bits[1] << 16;
#elif VECTOR == 4
  return uvec2(bits[0] | bits[1] << 16, bits[2] | bits[3] << 16);
#else
  return uvec4(bits[0] | bits[1] << 16, bits[2] | bits[3] << 16, bits[4] | bits[5] << 16, bits[6] | bits[7] << 16);
#endif
}

// Weights as weights.comp packs them: [width + 1][pitch] F32, tap by tap, then the bias (zeros if there is none). The
// pitch is a multiple of 8.
Values packed_row(uint64_t packed, int64_t row, int64_t pitch, int c) {
  uint64_t p = at(packed, row * pitch + c, 4);
#if VECTOR == 8
  return Values(Floats4(p).v, Floats4(p + 16ul).v);
#elif VECTOR == 4
  return Floats4(p).v;
#elif VECTOR == 2
  return Floats2(p).v;
#else
  return Float(p).v;
#endif
}

void store_packed_row(uint64_t packed, int64_t row, int64_t pitch, int c, Values v) {
  uint64_t p = at(packed, row * pitch + c, 4);
#if VECTOR == 8
  Floats4(p).v = v.lo;
  Floats4(p + 16ul).v = v.hi;
#elif VECTOR == 4
  Floats4(p).v = v;
#elif VECTOR == 2
  Floats2(p).v = v;
#else
  Float(p).v = v;
#endif
}

void load_taps(uint64_t packed, int64_t pitch, int c, int first, out Values taps[TAPS], out Values bias) {
  [[unroll]] for (int k = 0; k < TAPS; k++) {
    taps[k] = ZERO;
    if (k >= first) taps[k] = packed_row(packed, k - first, pitch, c);
  }
  bias = packed_row(packed, TAPS - first, pitch, c);
}

Values convolve(Values taps[TAPS], Values bias, Values window[KEPT], Values newest) {
  Values v = bias;
  [[unroll]] for (int k = 0; k < KEPT; k++) v = times_plus(taps[k], window[k], v);
  return times_plus(taps[TAPS - 1], newest, v);
}

// Appends to a window.
void shift(inout Values window[KEPT], Values newest, int first) {
  [[unroll]] for (int j = 0; j + 1 < KEPT; j++) {
    if (j >= first) window[j] = window[j + 1];
  }
  window[KEPT - 1] = newest;
}

void append(inout Row window[KEPT], Row newest, int first) {
  [[unroll]] for (int j = 0; j + 1 < KEPT; j++) {
    if (j >= first) window[j] = window[j + 1];
  }
  window[KEPT - 1] = newest;
}

// ---- packed sequences ------------------------------------------------------------------------------------------

// cu_seqlens as launched. Whatever it holds, starts and ends come out within [0, tokens].
int start_of(uint64_t cu, int s, int tokens) { return min(max(load_int(cu, s), 0), tokens); }

// The last s in [0, count] with cu[s] <= token, or -1; `count` says that the token is padding. Sixteen probes a round,
// which do not wait for each other; all work-items of a group ask the same.
int sequence_of(uint64_t cu, int count, int token) {
  int low = 0, size = count + 1;  // the answer lies in [low, low + size), or is low - 1
  while (true) {
    int step_size = (size + 15) / 16, hits = 0;
    [[unroll]] for (int i = 0; i < 16; i++) {
      int64_t probe = int64_t(i) * step_size;
      if (probe < size) {
        if (load_int(cu, low + probe) <= token) hits++;
      }
    }
    if (hits == 0) return low - 1;
    low += (hits - 1) * step_size;
    size = min(step_size, size - (hits - 1) * step_size);
    if (step_size == 1) return low;
  }
}

#endif
