#version 460
// Causal conv1d, backward: dx, dinitial and the partial sums of dweight and dbias in one pass over x and dout.
//
// With pre[t] recomputed, s = sigmoid(pre) and g[t] = dout[t] * s * (1 + pre * (1 - s)) (g = dout without an
// activation), for a sequence of L tokens and e from -(W-1) to L-1:
//   d[e] = sum over k of w[W-1-k] * g[e+k], 0 <= e+k < L,  +  dfinal[e-L+W-1] where e >= L-(W-1)
// is dx[e] for e >= 0 and dinitial[e+W-1] below. dweight[k] sums g[t] * x[t-(W-1)+k], the initial state included; dbias
// sums g.
//
// Work. As the forward pass: a work-item owns VECTOR channels and walks a tile of tokens once, ascending, with windows of
// W-1 rows of x and of g; d[e] is complete W-1 rows later, so a tile computes g for W-1 rows past its end. A tile owns
// the tokens that it holds and the dinitial of the sequences that start in it; no two write the same value. The sums of a
// tile go to `partial`, and conv1d_reduce adds tiles in ascending order, so that results do not depend on scheduling.
// Tiles are long, so that partials stay small. No barriers.
#include "states.glsl"

STORED_ARGUMENTS {
  READS(x);                // [T, C]
  READS(dout);             // [T, C]
  WRITES(dx);              // [T, C]; none: not asked for
  READS(weights);          // packed, see rows.glsl
  READS(cu_seqlens);       // [B + 1] int
  READS(cache_indices);    // [B] int; none: no sequence is skipped
  READS(has_initial);      // [B] bytes; none: no initial states
  STATES(initial);         // [B, C, W-1]
  STATES(dfinal);          // [B, C, W-1]; none: zeros
  STATES(dinitial);        // [B, C, W-1]; none: not asked for
  WRITES(partial);         // [tiles, W + 1, weight_pitch] float; none: no parameter gradient is asked for
  int64_t x_pitch;
  int64_t dout_pitch;
  int64_t dx_pitch;
  int64_t weight_pitch;
  int tokens;
  int sequences;
  int pad_slot;
  int tile;
  int tiles;
  int items;
  int empty_per_item;
  int silu;
  int width;
  int x_type;
  int state_type;
};
TAKES_ARGUMENTS;

// Taps in the order in which d[e] uses them: entry k meets g[e + k - first].
Values reversed_tap(Values taps[TAPS], Values reversed[TAPS], int k) {
  return FIXED ? taps[KEPT - k] : reversed[k];
}

// g of a token: dout times the activation's slope at the recomputed pre-activation.
Values slope(Values taps[TAPS], Values bias, Values x[KEPT], Values newest, Values dout) {
  return silu_slope(dout, convolve(taps, bias, x, newest));
}

void add_sums(inout Values dw[TAPS], inout Values db, Values x[KEPT], Values newest, Values g) {
  [[unroll]] for (int k = 0; k < KEPT; k++) dw[k] = times_plus(g, x[k], dw[k]);
  dw[KEPT] = times_plus(g, newest, dw[KEPT]);
  db = plus(db, g);
}

// d[e], where g[e] .. g[e+W-2] are the window, without dfinal.
Values combine(Values taps[TAPS], Values reversed[TAPS], Values g[KEPT], Values newest) {
  Values v = times(reversed_tap(taps, reversed, KEPT), newest);
  [[unroll]] for (int k = KEPT - 1; k >= 0; k--) v = times_plus(reversed_tap(taps, reversed, k), g[k], v);
  return v;
}

// AHEAD rows from `t` on, which are ahead, while the next as many set out. No branch between rows, so that their
// arithmetic interleaves; `silu` is a constant wherever this is called.
void rows_ahead(int c, int t, Values taps[TAPS], Values bias, bool silu, inout Row x_ahead[AHEAD], inout Row d_ahead[AHEAD],
                inout Values xs[KEPT], inout Values gs[KEPT], inout Values dw[TAPS], inout Values db) {
  [[unroll]] for (int u = 0; u < AHEAD; u++) {
    Values newest = widen_row(x_ahead[u], TYPE), g = widen_row(d_ahead[u], TYPE);
    x_ahead[u] = load_row(a.x, (t + u + AHEAD) * a.x_pitch + c, TYPE);
    d_ahead[u] = load_row(a.dout, (t + u + AHEAD) * a.dout_pitch + c, TYPE);
    if (silu) g = slope(taps, bias, xs, newest, g);
    add_sums(dw, db, xs, newest, g);
    if (GIVEN(dx)) {
      store_row(a.dx, (t + u - KEPT) * a.dx_pitch + c, narrow_row(combine(taps, taps, gs, g), TYPE), TYPE);
    }
    shift(xs, newest, 0);
    shift(gs, g, 0);
  }
}

bool is_skipped(int s) {
  return GIVEN(cache_indices) && slot_of(a.cache_indices, s, a.pad_slot, ANY_SLOT) < 0;
}

void main() {
  const int first = FIXED ? 0 : TAPS - a.width, width = TAPS - first;
  const int x_type = FIXED ? TYPE : a.x_type, type = FIXED ? TYPE : a.state_type;
  const int tokens = a.tokens, sequences = a.sequences;
  const bool silu = a.silu != 0;
  int c;
  const int number = tile_of(global_id(), a.items, c);  // of the tile
  const uint64_t cu = a.cu_seqlens;

  if (number >= a.tiles) {  // dinitial of empty sequences is their dfinal
    if (!GIVEN(dinitial)) return;
    int64_t begin = int64_t(number - a.tiles) * a.empty_per_item;
    int limit = int(min(begin + a.empty_per_item, int64_t(sequences)));
    for (int s = int(min(begin, int64_t(sequences))); s < limit; s++) {
      if (start_of(cu, s, tokens) < start_of(cu, s + 1, tokens)) continue;
      bool through = GIVEN(dfinal) && GIVEN(has_initial) && load_byte(a.has_initial, s) != 0u && !is_skipped(s);
      for (int j = 0; j < width - 1; j++) {
        Row row = Row(0);
        if (through) row = get_column(SLOT(dfinal, s, c), j, type);
        put_column(SLOT(dinitial, s, c), j, row, type);
      }
    }
    return;
  }

  const int from = number * a.tile, to = int(min(int64_t(from) + a.tile, int64_t(tokens)));
  Values taps[TAPS], reversed[TAPS], bias, dw[TAPS], db = ZERO;
  load_taps(a.weights, a.weight_pitch, c, first, taps, bias);
  [[unroll]] for (int k = 0; k < TAPS; k++) {
    dw[k] = ZERO;
    reversed[k] = ZERO;
    if (!FIXED && k >= first) reversed[k] = packed_row(a.weights, KEPT - k, a.weight_pitch, c);
  }

  int t = from;
  for (int s = max(sequence_of(cu, sequences, from), 0); s < sequences && t < to; s++) {
    const int start = start_of(cu, s, tokens), end = start_of(cu, s + 1, tokens);
    t = max(t, start);
    const int stop = min(end, to);
    if (t >= stop) continue;

    if (is_skipped(s)) {
      if (t == start && GIVEN(dinitial)) {
        for (int j = 0; j < width - 1; j++) put_column(SLOT(dinitial, s, c), j, Row(0), type);
      }
      if (GIVEN(dx)) {
        for (; t < stop; t++) store_row(a.dx, t * a.dx_pitch + c, Row(0), x_type);
      }
      t = stop;
      continue;
    }

    // The rows around [t, stop): the window before it; the first W-1 rows, which complete dinitial or nothing; those
    // after them, which all do the same; and the W-1 rows past its end, whose g its last rows need.
    const bool had = GIVEN(has_initial) && load_byte(a.has_initial, s) != 0u;
    const int segment = t;
    Values xs[KEPT], gs[KEPT];
    [[unroll]] for (int j = 0; j < KEPT; j++) {
      xs[j] = ZERO;
      gs[j] = ZERO;
      int r = segment - KEPT + j;
      if (j >= first) {
        if (r >= start) {
          xs[j] = widen_row(load_row(a.x, r * a.x_pitch + c, x_type), x_type);
        } else if (had) {
          xs[j] = widen_row(get_column(SLOT(initial, s, c), r - start + width - 1, type), type);
        }
      }
    }
    for (int edge = 0; edge < 2; edge++) {
      // Rows near an end, with every check. Those from `end` on have g = 0.
      const int rows = edge == 0 ? width - 1 : min(width - 1, stop + width - 1 - t);
      for (int u = 0; u < rows; u++, t++) {
        Values newest = ZERO, g = ZERO;
        if (t < end) {
          newest = widen_row(load_row(a.x, t * a.x_pitch + c, x_type), x_type);
          g = widen_row(load_row(a.dout, t * a.dout_pitch + c, x_type), x_type);
          if (silu) g = slope(taps, bias, xs, newest, g);
          if (t < stop) add_sums(dw, db, xs, newest, g);
        }
        const int e = t - (width - 1);
        const bool before = e < start;
        if ((e >= segment || (segment == start && before)) && (before ? GIVEN(dinitial) : GIVEN(dx))) {
          Values d = combine(taps, reversed, gs, g);
          if (GIVEN(dfinal) && e >= end - (width - 1)) {
            d = plus(d, widen_row(get_column(SLOT(dfinal, s, c), e - end + width - 1, type), type));
          }
          if (before) {
            Row row = Row(0);
            if (had) row = narrow_row(d, type);
            put_column(SLOT(dinitial, s, c), e - start + width - 1, row, type);
          } else {
            store_row(a.dx, e * a.dx_pitch + c, narrow_row(d, x_type), x_type);
          }
        }
        shift(xs, newest, first);
        shift(gs, g, first);
      }
      if (edge > 0 || t >= stop) continue;

      // Rows that have a g, are summed, and complete a dx that no dfinal reaches.
      Row x_ahead[AHEAD], d_ahead[AHEAD];
      [[unroll]] for (int u = 0; u < AHEAD; u++) {
        if (t + u < stop) {
          x_ahead[u] = load_row(a.x, (t + u) * a.x_pitch + c, x_type);
          d_ahead[u] = load_row(a.dout, (t + u) * a.dout_pitch + c, x_type);
        }
      }
      if (FIXED) {
        if (silu) {
          for (; t + 2 * AHEAD <= stop; t += AHEAD) {
            rows_ahead(c, t, taps, bias, true, x_ahead, d_ahead, xs, gs, dw, db);
          }
        } else {
          for (; t + 2 * AHEAD <= stop; t += AHEAD) {
            rows_ahead(c, t, taps, bias, false, x_ahead, d_ahead, xs, gs, dw, db);
          }
        }
      }
      for (; t < stop; t += AHEAD) {
        [[unroll]] for (int u = 0; u < AHEAD; u++) {
          if (t + u < stop) {
            Values newest = widen_row(x_ahead[u], x_type), g = widen_row(d_ahead[u], x_type);
            if (t + u + AHEAD < stop) {
              x_ahead[u] = load_row(a.x, (t + u + AHEAD) * a.x_pitch + c, x_type);
              d_ahead[u] = load_row(a.dout, (t + u + AHEAD) * a.dout_pitch + c, x_type);
            }
            if (silu) g = slope(taps, bias, xs, newest, g);
            add_sums(dw, db, xs, newest, g);
            if (GIVEN(dx)) {
              store_row(a.dx, (t + u - (width - 1)) * a.dx_pitch + c, narrow_row(combine(taps, reversed, gs, g), x_type), x_type);
            }
            shift(xs, newest, first);
            shift(gs, g, first);
          }
        }
      }
      t = stop;
    }
    t = stop;
  }

  if (GIVEN(partial)) {
    int64_t row = int64_t(number) * (width + 1);
    [[unroll]] for (int k = 0; k < TAPS; k++) {
      if (k >= first) store_packed_row(a.partial, row + k - first, a.weight_pitch, c, dw[k]);
    }
    store_packed_row(a.partial, row + width, a.weight_pitch, c, db);
  }
}
