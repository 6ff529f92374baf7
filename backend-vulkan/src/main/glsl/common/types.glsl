// Storage types, arguments, and how kernels reach memory. Included by every kernel source.
//
// A region of device memory is one argument, a 64-bit address; a tensor that was not given has the address 0: GIVEN
// asks. Arguments lie one after another, each aligned to its own size. Up to 120 bytes of them travel in push constants
// (PUSHED_ARGUMENTS); more lie in a uniform buffer (STORED_ARGUMENTS); the host does as the source says.
//
//   PUSHED_ARGUMENTS {
//     READS(x);
//     WRITES(result);
//     int64_t pitch;
//     int n;
//   };
//   TAKES_ARGUMENTS;
//   void main() {
//     int64_t i = global_id();
//     if (i < a.n) STORE(a.result, i * a.pitch, 2.0 * LOAD(a.x, i * a.pitch));
//   }
//
// Values are F32, F16 or BF16 in memory and float in registers. LOAD and STORE take the type from the program's constant
// TYPE; load_value and store_value take it as an argument, which may be a constant (then nothing of the choice remains)
// or a launch argument. Indices count elements and are 64 bits; single elements need no more alignment than the type has.
// Stores round to nearest even; NaN stays NaN; the largest magnitudes round to infinity. F16 is converted by hand:
// packHalf2x16 may round as the device likes, and unpackHalf2x16 may flush subnormals.
#ifndef WEFT_TYPES
#define WEFT_TYPES
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_control_flow_attributes : require

#define TYPE_F32 0
#define TYPE_F16 1
#define TYPE_BF16 2
#ifndef TYPE
#define TYPE TYPE_F32
#endif

// ---- arguments -------------------------------------------------------------------------------------------------

// A launch of more groups along x than the device takes is cut: then first_group is that of the piece.
#ifdef HAS_STORED_ARGUMENTS  // the build says so where it has found the word
#define STORED_ARGUMENTS struct Arguments
#define TAKES_ARGUMENTS                                                          \
  layout(push_constant, std430) uniform Launch { uint first_group; uint groups; }; \
  layout(set = 0, binding = 0, std140) uniform Stored { Arguments a; }
#else
#define PUSHED_ARGUMENTS struct Arguments
#define STORED_ARGUMENTS struct StoredArguments
#define TAKES_ARGUMENTS \
  layout(push_constant, std430) uniform Launch { uint first_group; uint groups; Arguments a; }
#endif

#define READS(name) uint64_t name    // nobody writes it meanwhile
#define WRITES(name) uint64_t name   // nothing else overlaps it
#define CHANGES(name) uint64_t name  // may overlap others
#define GIVEN(name) (a.name != 0ul)

#define group_id() (first_group + gl_WorkGroupID.x)  // along x
#define global_id() (int64_t(group_id()) * int64_t(gl_WorkGroupSize.x) + int64_t(gl_LocalInvocationID.x))

// ---- places ----------------------------------------------------------------------------------------------------

layout(buffer_reference, std430, buffer_reference_align = 1) buffer Byte { uint8_t v; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Short { uint16_t v; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Word { uint v; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Words2 { uvec2 v; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Words4 { uvec4 v; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Float { float v; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Floats2 { vec2 v; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Floats4 { vec4 v; };

uint64_t at(uint64_t p, int64_t i, int bytes) { return p + uint64_t(i * int64_t(bytes)); }
int load_int(uint64_t p, int64_t i) { return int(Word(at(p, i, 4)).v); }
uint load_byte(uint64_t p, int64_t i) { return uint(Byte(at(p, i, 1)).v); }
float load_float(uint64_t p, int64_t i) { return Float(at(p, i, 4)).v; }
void store_float(uint64_t p, int64_t i, float v) { Float(at(p, i, 4)).v = v; }

// ---- single values ---------------------------------------------------------------------------------------------

int type_bytes(int type) { return type == TYPE_F32 ? 4 : 2; }

float widen_f16(uint bits) {
  uint magnitude = bits & 0x7fffu;
  uint sign = (bits & 0x8000u) << 16;
  uint wide = (magnitude << 13) + (magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u);
  if (magnitude < 0x400u) wide = floatBitsToUint(float(magnitude) * 5.9604644775390625e-8);  // subnormal: units of 2^-24
  return uintBitsToFloat(sign | wide);
}
uint narrow_f16(float v) {
  uint u = floatBitsToUint(v);
  uint sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  uint result;
  if (magnitude >= 0x477ff000u) {  // 65520 and more round to infinity
    result = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  } else if (magnitude >= 0x38800000u) {  // 2^-14 and more
    result = ((magnitude + 0xfffu + ((magnitude >> 13) & 1u)) >> 13) - 0x1c000u;
  } else {
    uint shift = 126u - (magnitude >> 23);  // to units of 2^-24
    uint significand = (magnitude & 0x7fffffu) | 0x800000u;
    if (shift > 24u) {
      result = 0u;
    } else {
      uint rest = significand & ((1u << shift) - 1u), tie = 1u << (shift - 1u);
      result = significand >> shift;
      result += rest > tie || (rest == tie && (result & 1u) != 0u) ? 1u : 0u;
    }
  }
  return sign | result;
}
float widen_bf16(uint bits) { return uintBitsToFloat(bits << 16); }
uint narrow_bf16(float v) {
  uint u = floatBitsToUint(v);
  bool nan = (u & 0x7fffffffu) > 0x7f800000u;  // must not round to infinity or zero
  return (nan ? u | 0x400000u : u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

// The bits that memory holds, in the low half where the type has 16.
float widen(uint bits, int type) {
  return type == TYPE_F32 ? uintBitsToFloat(bits) : type == TYPE_F16 ? widen_f16(bits) : widen_bf16(bits);
}
uint narrow(float v, int type) {
  return type == TYPE_F32 ? floatBitsToUint(v) : type == TYPE_F16 ? narrow_f16(v) : narrow_bf16(v);
}
// The value that storing would leave.
float rounded_to(float v, int type) { return widen(narrow(v, type), type); }

uint load_bits(uint64_t p, int64_t i, int type) {
  uint bits;
  if (type == TYPE_F32) {
    bits = Word(at(p, i, 4)).v;
  } else {
    bits = uint(Short(at(p, i, 2)).v);
  }
  return bits;
}
void store_bits(uint64_t p, int64_t i, uint bits, int type) {
  if (type == TYPE_F32) {
    Word(at(p, i, 4)).v = bits;
  } else {
    Short(at(p, i, 2)).v = uint16_t(bits) & 0xffffus;  // arithmetic: optimised code has 16-bit constants, which need it
  }
}
float load_value(uint64_t p, int64_t i, int type) { return widen(load_bits(p, i, type), type); }
void store_value(uint64_t p, int64_t i, float v, int type) { store_bits(p, i, narrow(v, type), type); }

// ---- neighbours ------------------------------------------------------------------------------------------------

vec2 widen2(uint bits, int type) {  // of 16-bit types
  return type == TYPE_F16 ? vec2(widen_f16(bits & 0xffffu), widen_f16(bits >> 16))
                          : uintBitsToFloat(uvec2(bits << 16, bits & 0xffff0000u));
}
uint narrow2(vec2 v, int type) {
  return type == TYPE_F16 ? narrow_f16(v.x) | narrow_f16(v.y) << 16 : narrow_bf16(v.x) | narrow_bf16(v.y) << 16;
}
vec4 widen4(uvec2 bits, int type) { return vec4(widen2(bits.x, type), widen2(bits.y, type)); }
uvec2 narrow4(vec4 v, int type) { return uvec2(narrow2(v.xy, type), narrow2(v.zw, type)); }

// ---- of the program's own type ---------------------------------------------------------------------------------

#define LOAD(p, i) load_value(p, i, TYPE)
#define STORE(p, i, v) store_value(p, i, v, TYPE)

#endif
