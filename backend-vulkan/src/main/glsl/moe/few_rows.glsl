// The products of experts that have few rows each, on matrix units: what counts is to stream weights. A wave brings 16
// rows of weights to registers, 16 bytes a work-item, and from there to local memory of its own, so that waves do not
// wait for each other; they are the left operand, and up to 16 of an expert's rows the right one. FEW_SHARE neighbouring
// waves of a group share the k of the same rows, and add up at the end, in order.
//
// Rows of weights, x and act start at multiples of 16 bytes, and their length is a multiple of 8. Included by
// experts.comp, whose argument lists these kernels have.
#define FEW_ROWS 16 /* of a tile */
#define FEW_WAVES 4 /* as Experts.java has it */
#define FEW_SHARE 4 /* as Experts.java has it */
#define FEW_DEPTH 64 /* the k of a wave that travel at once, a multiple of 64 */
#define FEW_SETS (FEW_WAVES / FEW_SHARE)
#define FEW_COLUMNS 16 /* rows of weights of a wave */
#define FEW_ITEMS (FEW_WAVES * 32)
#define FEW_PITCH (FEW_DEPTH / 8 + 1)            /* of rows in local memory, in chunks of 16 bytes */
#define FEW_CHUNKS (2 * 16 * FEW_PITCH)          /* of a wave: weights, then the expert's rows */
#define FEW_UNROLL (FEW_DEPTH / 64)
#define FEW_WAVE (local_item() / 32)
#define FEW_LANE (local_item() % 32)
#define FEW_SET (FEW_WAVE / FEW_SHARE)

layout(local_size_x = FEW_ITEMS) in;

#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#pragma use_vulkan_memory_model
#if TYPE == 1
#define FEW_ELEMENT float16_t
#else
#extension GL_EXT_bfloat16 : require
#define FEW_ELEMENT bfloat16_t
#endif

shared uvec4 memory[FEW_WAVES * FEW_CHUNKS];

#define WAIT_FOR_WAVE \
  controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease)

// Leaves C[row of weights][row of the expert] of the wave's share of the k in its local memory, as 16 x 16 floats, and
// waits for the group. A work-item moves eight chunks of every fourth row: `weights` are where rows FEW_LANE / 8 + 4 i of
// weights start, `rows` those of the expert, of which the last two count where `all_rows`.
void stream_product(uint64_t weights[4], uint64_t rows[4], bool all_rows, int depth) {
  const int own = FEW_WAVE * FEW_CHUNKS;
  const int put = own + FEW_LANE / 8 * FEW_PITCH + FEW_LANE % 8;
  const int first = FEW_WAVE % FEW_SHARE * FEW_DEPTH;
  coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> sums =
      coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0);
  uvec4 w[4 * FEW_UNROLL], x[4 * FEW_UNROLL];
  [[unroll]] for (int i = 0; i < 4 * FEW_UNROLL; i++) x[i] = uvec4(0u);
#define FEW_FETCH(from)                                                                     \
  [[unroll]] for (int u = 0; u < FEW_UNROLL; u++) {                                         \
    const int k = (from) + u * 64 + FEW_LANE % 8 * 8;                                       \
    [[unroll]] for (int i = 0; i < 4; i++) w[4 * u + i] = uvec4(0u);                        \
    if (k < depth) {                                                                        \
      [[unroll]] for (int i = 0; i < 4; i++) w[4 * u + i] = Words4(at(weights[i], k, 2)).v; \
      x[4 * u] = Words4(at(rows[0], k, 2)).v;                                               \
      x[4 * u + 1] = Words4(at(rows[1], k, 2)).v;                                           \
      if (all_rows) {                                                                       \
        x[4 * u + 2] = Words4(at(rows[2], k, 2)).v;                                         \
        x[4 * u + 3] = Words4(at(rows[3], k, 2)).v;                                         \
      }                                                                                     \
    } else {                                                                                \
      [[unroll]] for (int i = 0; i < 4; i++) x[4 * u + i] = uvec4(0u);                      \
    }                                                                                       \
  }
  if (first < depth) {
    FEW_FETCH(first)
  }
  for (int from = first; from < depth; from += FEW_SHARE * FEW_DEPTH) {
    WAIT_FOR_WAVE;
    [[unroll]] for (int u = 0; u < FEW_UNROLL; u++) {
      [[unroll]] for (int i = 0; i < 4; i++) {
        memory[put + i * 4 * FEW_PITCH + u * 8] = w[4 * u + i];
        memory[put + (16 + i * 4) * FEW_PITCH + u * 8] = x[4 * u + i];
      }
    }
    WAIT_FOR_WAVE;
    const int next = from + FEW_SHARE * FEW_DEPTH;
    if (next < depth) {
      FEW_FETCH(next)
    }
    [[unroll]] for (int k = 0; k < FEW_DEPTH; k += 16) {
      coopmat<FEW_ELEMENT, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> left;
      coopmat<FEW_ELEMENT, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> right;
      coopMatLoad(left, memory, own + k / 8, FEW_PITCH, gl_CooperativeMatrixLayoutRowMajor);
      coopMatLoad(right, memory, own + 16 * FEW_PITCH + k / 8, FEW_PITCH, gl_CooperativeMatrixLayoutColumnMajor);
      sums = coopMatMulAdd(left, right, sums);
    }
  }
  WAIT_FOR_WAVE;
  coopMatStore(sums, memory, own, 4, gl_CooperativeMatrixLayoutRowMajor);
  barrier();
}

// The sum of a set's waves for a row of weights and a row of the expert.
float few_sum(int set, int weight_row, int row) {
  float sum = 0.0;
  [[unroll]] for (int wave = 0; wave < FEW_SHARE; wave++) {
    const uvec4 four = memory[(set * FEW_SHARE + wave) * FEW_CHUNKS + weight_row * 4 + row / 4];
    sum += uintBitsToFloat(row % 4 < 2 ? row % 4 == 0 ? four.x : four.y : row % 4 == 2 ? four.z : four.w);
  }
  return sum;
}

#ifdef KERNEL_moe_project_few
// Eight gates and the ups that belong to them; without gates sixteen ups.
void main() {
  const ivec4 t = OWN_TILE;
  if (t.x < 0) return;
  const int expert = t.x, row = t.y, end = t.z;
  const bool gated = GIVEN(gate);
  const int wide = gated ? FEW_COLUMNS / 2 : FEW_COLUMNS;
  const int column = t.w * FEW_SETS * wide;  // of the group
  const int width = a.width;
  uint64_t weights[4], rows[4];
  [[unroll]] for (int i = 0; i < 4; i++) {
    const int r = FEW_LANE / 8 + 4 * i;
    const int of = min(column + FEW_SET * wide + r % wide, width - 1);  // those beyond are not used
    weights[i] = gated && i < 2 ? WEIGHT_AT(gate, expert, of) : WEIGHT_AT(up, expert, of);
    rows[i] = x_row(min(row + r, end - 1), end);
  }
  stream_product(weights, rows, end - row > 8, a.hidden);
  for (int i = local_item(); i < FEW_SETS * wide * FEW_ROWS; i += FEW_ITEMS) {
    const int c = i % (FEW_SETS * wide), sorted = row + i / (FEW_SETS * wide), of = column + c;
    if (sorted < end && of < width) {
      float g = 0.0, u = few_sum(c / wide, gated ? c % wide + 8 : c % wide, sorted - row);
      if (gated) g = few_sum(c / wide, c % wide, sorted - row);
      if (GIVEN(up_bias)) u += load_value(WEIGHT_AT(up_bias, expert, of), 0, a.weight_type);
      if (GIVEN(gate_bias)) g += load_value(WEIGHT_AT(gate_bias, expert, of), 0, a.weight_type);
      if (GIVEN(z)) {
        int z_row = sorted;
        if (GIVEN(z_rows)) z_row = load_int(a.z_rows, load_int(a.permutation, sorted));
        if (gated) STORE(a.z, z_row * a.z_pitch + of, g);
        STORE(a.z, z_row * a.z_pitch + (gated ? width : 0) + of, u);
      }
      STORE(a.act, sorted * a.act_pitch + of, activate(a.activation, a.alpha, a.limit, g, u));
    }
  }
}
#endif

#ifdef KERNEL_moe_down_few
// The sum is never split among groups.
void main() {
  const ivec4 t = OWN_TILE;
  if (t.x < 0) return;
  const int expert = t.x, row = t.y, end = t.z;
  const int column = t.w * FEW_SETS * FEW_COLUMNS;  // of the group
  const int hidden = a.hidden;
  uint64_t weights[4], rows[4];
  [[unroll]] for (int i = 0; i < 4; i++) {
    const int r = FEW_LANE / 8 + 4 * i;
    const int of = min(column + FEW_SET * FEW_COLUMNS + r, hidden - 1);
    weights[i] = WEIGHT_AT(down, expert, of);
    rows[i] = at(a.act, min(row + r, end - 1) * a.act_pitch, 2);
  }
  stream_product(weights, rows, end - row > 8, a.width);
  for (int i = local_item(); i < FEW_SETS * FEW_COLUMNS * FEW_ROWS; i += FEW_ITEMS) {
    const int c = i % (FEW_SETS * FEW_COLUMNS), sorted = row + i / (FEW_SETS * FEW_COLUMNS), of = column + c;
    if (sorted < end && of < hidden) {
      float v = few_sum(c / FEW_COLUMNS, c % FEW_COLUMNS, sorted - row);
      if (GIVEN(down_bias)) v += load_value(WEIGHT_AT(down_bias, expert, of), 0, a.weight_type);
      int slot = sorted;
      if (GIVEN(permutation)) slot = load_int(a.permutation, sorted);
      STORE(a.out_rows, slot * a.out_pitch + of, v);
    }
  }
}
#endif
