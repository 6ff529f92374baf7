// What MoE's kernels have in common. Rows are (token, slot) pairs sorted by expert ("sorted rows"): row p belongs to
// slot permutation[p] = token * topK + k. Expert e, counted within the local range, owns rows offsets[e] ..
// offsets[e + 1]. Without a permutation (the shared expert) row p is token p and there is one expert.
//
// Loads stand behind if, not in ?:, whose sides may both be computed. What counts on how floats round is precise: else
// a compiler may take a - b + b for a.
#ifndef WEFT_MOE_EXPERTS
#define WEFT_MOE_EXPERTS

#include "../common/types.glsl"

// As RouterSpec and ExpertActivation have them; MoeCodes.java.
#define SCORE_IDENTITY 0
#define SCORE_SOFTMAX 1
#define SCORE_SIGMOID 2
#define NORMALIZE_NONE 0
#define NORMALIZE_SUM 1
#define NORMALIZE_SOFTMAX 2
#define SWIGLU 0
#define SWIGLU_CLAMPED 1
#define GEGLU 2
#define GEGLU_TANH 3
#define RELU2 4

#define MINUS_INFINITY uintBitsToFloat(0xff800000u)
#define LARGEST_INT 0x7fffffff

int local_item() { return int(gl_LocalInvocationID.x); }
#define group_number() int(group_id())

uint64_t place(uint64_t p, int64_t i, int type) { return at(p, i, type_bytes(type)); }
void store_int(uint64_t p, int64_t i, int v) { Word(at(p, i, 4)).v = uint(v); }
// Aligned to their size.
ivec2 load_int2(uint64_t p, int64_t i) { return ivec2(Words2(at(p, i, 8)).v); }
ivec4 load_int4(uint64_t p, int64_t i) { return ivec4(Words4(at(p, i, 16)).v); }
void store_int2(uint64_t p, int64_t i, ivec2 v) { Words2(at(p, i, 8)).v = uvec2(v); }
void store_int4(uint64_t p, int64_t i, ivec4 v) { Words4(at(p, i, 16)).v = uvec4(v); }

// ---- rows ------------------------------------------------------------------------------------------------------

bool aligned_to(uint64_t p, uint bytes) { return (uint(p) & (bytes - 1u)) == 0u; }

// Four neighbours at p, 16 bytes aligned, or 8 of a 16-bit type.
vec4 load4(uint64_t p, int type) {
  vec4 v;
  if (type == TYPE_F32) {
    v = Floats4(p).v;
  } else {
    v = widen4(Words2(p).v, type);
  }
  return v;
}

void store4(uint64_t p, int type, vec4 v) {
  if (type == TYPE_F32) {
    Floats4(p).v = v;
  } else {
    Words2(p).v = narrow4(v, type);
  }
}

// Four neighbouring elements of a row from element i on, of which `valid` are there; the others are 0.
vec4 load_four(uint64_t row, int64_t i, int type, int valid) {
  const uint64_t p = place(row, i, type);
  vec4 v = vec4(0.0);
  if (valid >= 4 && aligned_to(p, type == TYPE_F32 ? 16u : 8u)) {
    v = load4(p, type);
  } else {
    if (valid > 0) v.x = load_value(p, 0, type);
    if (valid > 1) v.y = load_value(p, 1, type);
    if (valid > 2) v.z = load_value(p, 2, type);
    if (valid > 3) v.w = load_value(p, 3, type);
  }
  return v;
}

void store_four(uint64_t row, int64_t i, int type, vec4 v, int valid) {
  const uint64_t p = place(row, i, type);
  if (valid >= 4 && aligned_to(p, type == TYPE_F32 ? 16u : 8u)) {
    store4(p, type, v);
  } else {
    if (valid > 0) store_value(p, 0, v.x, type);
    if (valid > 1) store_value(p, 1, v.y, type);
    if (valid > 2) store_value(p, 2, v.z, type);
    if (valid > 3) store_value(p, 3, v.w, type);
  }
}

// ---- arithmetic ------------------------------------------------------------------------------------------------

bool is_nan(float v) { return (floatBitsToUint(v) & 0x7fffffffu) > 0x7f800000u; }
bool is_finite(float v) { return (floatBitsToUint(v) & 0x7f800000u) != 0x7f800000u; }

// a / b to within an ulp, whatever the device's division makes of it.
float divided(float a, float b) {
  precise float q = a / b;
  precise float better = fma(fma(-q, b, a), 1.0 / b, q);
  return is_finite(better) ? better : q;
}

// e^x to within an ulp or two: that of Vulkan loses more the larger x is. 2^n times the series of what is left.
float exp_of(float x) {
  precise float n = floor(fma(x, 1.44269504, 0.5));
  n = min(max(n, -160.0), 140.0);
  precise float r = fma(n, 2.12194440e-4, fma(n, -0.693359375, x));
  precise float p = fma(1.0 / 5040.0, r, 1.0 / 720.0);
  p = fma(p, r, 1.0 / 120.0);
  p = fma(p, r, 1.0 / 24.0);
  p = fma(p, r, 1.0 / 6.0);
  p = fma(p, r, 0.5);
  p = fma(p, r * r, r);
  int whole = int(n), half_of_it = whole / 2;
  precise float v = (p + 1.0) * uintBitsToFloat(uint(127 + half_of_it) << 23) *
                    uintBitsToFloat(uint(127 + whole - half_of_it) << 23);
  if (x > 89.0) v = uintBitsToFloat(0x7f800000u);
  if (x < -104.0) v = 0.0;
  return is_nan(x) ? x : v;
}

// The rest is not 1 - s, which would lose what is small.
float sigmoid_of(float v) { return divided(1.0, 1.0 + exp_of(-v)); }

// The distribution function of the normal distribution: erfc(-v / sqrt 2) / 2. With t = 2 / (2 + z), the logarithm of
// erfc(z) / t + z^2 is smooth; the coefficients are a Chebyshev fit on 0 <= z <= 15, within 7e-8. The rounding error of
// z^2 is taken along, since it multiplies in.
float normal_cdf(float v) {
  precise float z = abs(v) * 0.70710678118654752;
  precise float t = divided(2.0, 2.0 + z);
  precise float p = fma(t, 0.1682148575782776, -0.8057071566581726);
  p = fma(p, t, 1.4454379081726074);
  p = fma(p, t, -1.072641134262085);
  p = fma(p, t, 0.22357740998268127);
  p = fma(p, t, -0.15563374757766724);
  p = fma(p, t, 0.08620592206716537);
  p = fma(p, t, 0.37626102566719055);
  p = fma(p, t, 0.9997867345809937);
  p = fma(p, t, -1.265501856803894);
  precise float square = z * z;
  precise float lost = fma(z, z, -square);
  precise float exponent = p - square;
  precise float rest = (p - (exponent + square)) - lost;
  float e = exp_of(exponent);
  float tail = 0.5 * t * fma(e, rest, e);
  if (z > 14.0) tail = 0.0;
  if (is_nan(v)) tail = v;
  return v < 0.0 ? tail : 1.0 - tail;
}

float activate(int activation, float alpha, float limit, float g, float u) {
  if (activation == SWIGLU) return g * sigmoid_of(g) * u;
  if (activation == SWIGLU_CLAMPED) {
    float c = g > limit ? limit : g;  // NaN stays NaN
    float v = u > limit ? limit : u < -limit ? -limit : u;
    return c * sigmoid_of(alpha * c) * (v + 1.0);
  }
  if (activation == GEGLU) return g * normal_cdf(g) * u;
  if (activation == GEGLU_TANH) {  // (1 + tanh y) / 2 = sigmoid(2 y)
    float y = 0.7978845608028654 * (g + 0.044715 * g * g * g);
    return g * sigmoid_of(2.0 * y) * u;
  }
  float r = u < 0.0 ? 0.0 : u;
  return r * r;
}

// ---- what there is to do ---------------------------------------------------------------------------------------

// How many of `tokens` tokens there are, where the device's count counts from before the first of them.
int present_tokens(uint64_t count, int first, int tokens) {
  int present = tokens;
  if (count != 0ul) present = min(max(load_int(count, 0), first) - first, tokens);
  return present;
}

// The tile of a group, of a list of tiles of so many rows: {expert, first sorted row, end of the expert's rows, column
// tile}; expert -1: there is none. Groups walk one expert's tiles before the next, and all its rows for a column tile
// before the next, so that those that run together share weights.
ivec4 tile_of(int group, int all_groups, uint64_t tiles, uint64_t token_count, int first_token, int tokens, int rows,
              int most_tiles) {
  const int column_tiles = all_groups / most_tiles;
  const int number = group / column_tiles;
  ivec4 t = ivec4(-1, 0, 0, 0);
  if (tiles == 0ul) {
    int present = present_tokens(token_count, first_token, tokens);
    if (int64_t(number) * rows < present) t = ivec4(0, 0, present, 0);
  } else if (number < load_int(tiles, 0)) {
    t = load_int4(tiles, number + 1);
  }
  if (t.x < 0) return t;
  const int all = (t.z - t.y + rows - 1) / rows;
  const int local_number = group - t.w * column_tiles;
  return ivec4(t.x, t.y + local_number % all * rows, t.z, local_number / all);
}

// By the arguments of a product of experts.
#define OWN_TILE                                                                                                      \
  tile_of(group_number(), int(groups), a.tiles, a.token_count, a.first_token, a.tokens, GROUP_M, a.most_tiles)

#endif
