// The products of experts that have few rows each, on matrix units: what counts is to stream weights (few_units.glsl). A
// wave has 16 rows of weights: eight gates and the ups that belong to them, or sixteen rows of down. FEW_SHARE neighbouring
// waves of a group share the k of the same rows, and add up at the end, in order.
//
// Included by experts.comp, whose argument lists these kernels have.
#define FEW_ROWS 16  /* of a tile */
#define FEW_WAVES 4  /* as Experts.java has it */
#define FEW_SHARE 2  /* as Experts.java has it */
#define FEW_UNROLL 2
#define FEW_SETS (FEW_WAVES / FEW_SHARE)
#define FEW_SET (FEW_WAVE / FEW_SHARE)
#include "few_units.glsl"

layout(local_size_x = FEW_WAVES * 32) in;

shared float few_sums[FEW_WAVES][8][32];

// Adds the wave's share of the k. Rows l / 4 and l / 4 + 8: of weights, of the expert; the last only where `both`.
void stream_product(uint64_t low, uint64_t high, uint64_t first, uint64_t second, bool both, int depth,
                    out float c[8]) {
  UNIT_SUMS sums = UNIT_SUMS(0.0);
  FEW_STREAM(sums, low, high, first, second, both, FEW_WAVE % FEW_SHARE * FEW_SPAN, FEW_SHARE * FEW_SPAN, depth)
  // The sums of the waves that share rows: all of them get all.
  [[unroll]] for (int i = 0; i < 8; i++) few_sums[FEW_WAVE][i][FEW_LANE] = sums[i];
  barrier();
  [[unroll]] for (int i = 0; i < 8; i++) {
    c[i] = 0.0;
    [[unroll]] for (int w = 0; w < FEW_SHARE; w++) c[i] += few_sums[FEW_SET * FEW_SHARE + w][i][FEW_LANE];
  }
}
// Sum i of a work-item is of row l / 4 + FEW_WEIGHT(i) of weights and of FEW_OF_EXPERT(i) of the expert.
#define FEW_WEIGHT(i) ((i) / 4 * 8)
#define FEW_OF_EXPERT(i) (FEW_LANE % 4 * 2 + (i) % 2 + (i) / 2 % 2 * 8)

#ifdef KERNEL_moe_project_few
// Eight gates and the ups that belong to them; without gates sixteen ups.
void main() {
  const ivec4 t = OWN_TILE;
  if (t.x < 0) return;
  const int expert = t.x, row = t.y, end = t.z;
  const bool gated = GIVEN(gate);
  const int width = a.width;
  const int column = (t.w * FEW_SETS + FEW_SET) * (gated ? FEW_COLUMNS / 2 : FEW_COLUMNS) + FEW_LANE / 4;
  const int last = end - 1;  // rows that are not there are another's: their columns of the product are left
  const int low = min(column, width - 1), high = min(gated ? column : column + 8, width - 1);
  float c[8];
  stream_product(gated ? WEIGHT_AT(gate, expert, low) : WEIGHT_AT(up, expert, low), WEIGHT_AT(up, expert, high),
                 x_row(min(row + FEW_LANE / 4, last), end), x_row(min(row + 8 + FEW_LANE / 4, last), end),
                 end - row > 8, a.hidden, c);
  if (FEW_WAVE % FEW_SHARE > 0) return;
  [[unroll]] for (int i = 0; i < 8; i++) {
    const int sorted = row + FEW_OF_EXPERT(i), of = gated ? column : column + FEW_WEIGHT(i);
    if ((!gated || i < 4) && sorted < end && of < width) {
      float g = 0.0, u = c[i];
      if (gated) {
        g = c[i];
        u = c[i % 4 + 4];
      }
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
  const int hidden = a.hidden;
  const int column = (t.w * FEW_SETS + FEW_SET) * FEW_COLUMNS + FEW_LANE / 4;
  const int last = end - 1;
  float c[8];
  stream_product(WEIGHT_AT(down, expert, min(column, hidden - 1)), WEIGHT_AT(down, expert, min(column + 8, hidden - 1)),
                 at(a.act, min(row + FEW_LANE / 4, last) * a.act_pitch, 2),
                 at(a.act, min(row + 8 + FEW_LANE / 4, last) * a.act_pitch, 2), end - row > 8, a.width, c);
  if (FEW_WAVE % FEW_SHARE > 0) return;
  [[unroll]] for (int i = 0; i < 8; i++) {
    const int sorted = row + FEW_OF_EXPERT(i), of = column + FEW_WEIGHT(i);
    if (sorted < end && of < hidden) {
      float v = c[i];
      if (GIVEN(down_bias)) v += load_value(WEIGHT_AT(down_bias, expert, of), 0, a.weight_type);
      int slot = sorted;
      if (GIVEN(permutation)) slot = load_int(a.permutation, sorted);
      STORE(a.out_rows, slot * a.out_pitch + of, v);
    }
  }
}
#endif
