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
// Rows of a turn of the loops over rows, which are on their way to registers during the turn before. A multiple of W-1 in
// the fixed form, so that within a turn the window's rows change their names instead of moving.
const int TURN = FIXED ? 6 : 4;

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
#define READ_PLACE ReadWords4
#elif VECTOR == 4 || (VECTOR == 2 && TYPE == TYPE_F32)
#define Row uvec2
#define ROW_PLACE Words2
#define READ_PLACE ReadWords2
#else
#define Row uint
#define ROW_PLACE Word
#define READ_PLACE ReadWord
#endif
layout(buffer_reference, std430, buffer_reference_align = 4) readonly restrict buffer ReadWord { uint v; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly restrict buffer ReadWords2 { uvec2 v; };
layout(buffer_reference, std430, buffer_reference_align = 16) readonly restrict buffer ReadWords4 { uvec4 v; };

// Bytes of an element.
int64_t element(int type) { return FIXED ? ROW_BYTES / VECTOR : type_bytes(type); }

Row load_row(uint64_t p, int64_t i, int type) {
#if VECTOR > 1
  return ROW_PLACE(at(p, i, ROW_BYTES / VECTOR)).v;
#else
  return load_bits(p, i, type);
#endif
}

// Of a tensor that nobody writes, so that it may be read before something else is written.
Row load_constant(uint64_t p, int type) {
#if VECTOR > 1
  return READ_PLACE(p).v;
#else
  return load_bits(p, 0, type);
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

// The activation. exp(-v) is computed times a power of two, so that the reciprocal of 1 + exp(-v) stays a normal number
// as long as silu(v) is one: it comes times 2^8. There is no case for
// either sign.
const float SILU_SCALE = 0.00390625, LOG2_E = 1.4426950408889634;

// SiLU of values that come times SILU_SCALE, by taps that were scaled, which is exact but for subnormal ones.
Part silu_part(Part v) {
  return v * (1.0 / (exp2(fma(v, Part(-LOG2_E / SILU_SCALE), Part(-8.0))) + SILU_SCALE));
}
// dout times the slope of SiLU at pre, sigmoid(v) (1 + v (1 - sigmoid(v))), where 1 - sigmoid(v) = exp(-v) sigmoid(v) to
// full relative precision. The bound of the exponent keeps infinity times zero out; there sigmoid(v) is 0.
Part slope_part(Part dout, Part pre) {
  Part e = exp2(min(fma(pre, Part(-LOG2_E), Part(-16.0)), Part(127.0)));  // 2^-16 exp(-v)
  Part r = 1.0 / fma(e, Part(256.0), Part(SILU_SCALE));                   // 2^8 sigmoid(v)
  return dout * (r * fma(pre, e * r, Part(SILU_SCALE)));
}

#if VECTOR == 8
const Values ZERO = Values(vec4(0.0), vec4(0.0));
Values scaled(Values a, float by) { return Values(a.lo * by, a.hi * by); }
Values times(Values a, Values b) { return Values(a.lo * b.lo, a.hi * b.hi); }
Values plus(Values a, Values b) { return Values(a.lo + b.lo, a.hi + b.hi); }
Values times_plus(Values a, Values b, Values c) { return Values(fma(a.lo, b.lo, c.lo), fma(a.hi, b.hi, c.hi)); }
Values silu_of(Values v) { return Values(silu_part(v.lo), silu_part(v.hi)); }
Values silu_slope(Values dout, Values pre) { return Values(slope_part(dout.lo, pre.lo), slope_part(dout.hi, pre.hi)); }
#else
const Values ZERO = Values(0.0);
Values scaled(Values a, float by) { return a * by; }
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

#if VECTOR > 1 && TYPE == TYPE_BF16
// A tie goes away from zero: half a unit in the last place is added, and what is behind it cut off. NaN stays NaN.
uint narrow_away2(vec2 v) {
  const vec2 powers = uintBitsToFloat(floatBitsToUint(v) & 0xff800000u);  // of two, with the sign; infinity for NaN
  const uvec2 r = floatBitsToUint(fma(powers, vec2(0.00390625), v));
  return (r.y & 0xffff0000u) | (r.x >> 16);
}
uvec2 narrow_away4(vec4 v) { return uvec2(narrow_away2(v.xy), narrow_away2(v.zw)); }
#endif

// Of values that an activation went into: what a tie is there is chance, so it may go either way.
Row narrow_activated(Values v, int type) {
#if VECTOR == 8 && TYPE == TYPE_BF16
  return uvec4(narrow_away4(v.lo), narrow_away4(v.hi));
#elif VECTOR == 4 && TYPE == TYPE_BF16
  return narrow_away4(v);
#else
  return narrow_row(v, type);
#endif
}

// The output for what a convolution comes to, by taps that were scaled if there is an activation.
Row output_row(Values y, bool silu, int type) {
  return silu ? narrow_activated(silu_of(y), type) : narrow_row(y, type);
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

void scale_taps(inout Values taps[TAPS], inout Values bias, float by) {
  [[unroll]] for (int k = 0; k < TAPS; k++) taps[k] = scaled(taps[k], by);
  bias = scaled(bias, by);
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
