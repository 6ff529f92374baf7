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
#define TENSORS 2
#include "ahead.clh"
#include "states.clh"

// Taps in the order in which d[e] uses them: entry k meets g[e + k - first].
#if FIXED
#define REVERSED(k) taps[KEPT - (k)]
#else
#define REVERSED(k) reversed[k]
#endif

// g of a token: dout times the activation's slope at the recomputed pre-activation.
static inline Values slope(const Values taps[TAPS], Values bias, const Values x[KEPT], Values newest, Values dout) {
  Values pre = convolve(taps, bias, x, newest);
  Values rest, s = sigmoid(pre, &rest);
  return dout * s * fma(pre, rest, (Values)(1.0f));
}

static inline void add_sums(Values dw[TAPS], Values *db, const Values x[KEPT], Values newest, Values g) {
#pragma unroll
  for (int k = 0; k < KEPT; k++) dw[k] = fma(g, x[k], dw[k]);
  dw[KEPT] = fma(g, newest, dw[KEPT]);
  *db += g;
}

// d[e], where g[e] .. g[e+W-2] are the window, without dfinal.
static inline Values combine(const Values taps[TAPS], const Values reversed[TAPS], const Values g[KEPT], Values newest) {
  Values v = REVERSED(KEPT) * newest;
#pragma unroll
  for (int k = KEPT - 1; k >= 0; k--) v = fma(REVERSED(k), g[k], v);
  return v;
}

// A row that has a g, is summed, and completes a dx that no dfinal reaches. dx: null where it is not asked for.
static inline void row_within(Row x_row, Row dout_row, const Values taps[TAPS], const Values reversed[TAPS], Values bias,
                              bool silu, Values xs[KEPT], Values gs[KEPT], Values dw[TAPS], Values *db, int first,
                              __global uchar *restrict dx, int type) {
  Values newest = widen_row(x_row, type), g = widen_row(dout_row, type);
  if (silu) g = slope(taps, bias, xs, newest, g);
  add_sums(dw, db, xs, newest, g);
  if (dx) store_row(dx, 0, narrow_row(combine(taps, reversed, gs, g), type), type);
  shift(xs, newest, first);
  shift(gs, g, first);
}

#if FIXED
// STEP rows from `t` on; `silu` is a constant wherever this is called.
static inline void whole_step(AHEAD_PARAMETERS, const __global uchar *restrict x, long x_pitch, const __global uchar *restrict dout,
                              long dout_pitch, __global uchar *restrict dx, long dx_bytes, int c, int t, int limit,
                              const Values taps[TAPS], Values bias, bool silu, Values xs[KEPT], Values gs[KEPT],
                              Values dw[TAPS], Values *db) {
  Row taken[STEP * 2];
  take_ahead(AHEAD_PASSED, STEP, x, x_pitch, dout, dout_pitch, c, TYPE, t, limit, taken);
#pragma unroll
  for (int j = 0; j < STEP; j++) {
    row_within(taken[2 * j], taken[2 * j + 1], taps, taps, bias, silu, xs, gs, dw, db, 0, dx, TYPE);
    dx += dx_bytes;
  }
}
#endif

__kernel WORK_GROUP void conv1d_backward(
    READS(x),                  // [T, C]
    READS(dout),               // [T, C]
    WRITES(dx),                // [T, C]; none: not asked for
    READS(weights),            // packed, see rows.clh
    READS(cu_seqlens),         // [B + 1] int
    READS(cache_indices),      // [B] int; none: no sequence is skipped
    READS(has_initial),        // [B] bytes; none: no initial states
    STATES(initial),           // [B, C, W-1]
    STATES(dfinal),            // [B, C, W-1]; none: zeros
    STATES(dinitial),          // [B, C, W-1]; none: not asked for
    WRITES(partial),           // [tiles, W + 1, weight_pitch] float; none: no parameter gradient is asked for
    const long x_pitch, const long dout_pitch, const long dx_pitch, const long weight_pitch,
    const int tokens, const int sequences, const int pad_slot,
    const int tile, const int tiles, const int items, const int empty_per_item,
    const int given_silu, const int given_width, const int given_x_type, const int given_state_type) {
  const int first = FIXED ? 0 : TAPS - given_width, width = TAPS - first;
  const int x_type = FIXED ? TYPE : given_x_type, type = FIXED ? TYPE : given_state_type;
  const bool silu = given_silu;
  int c;
  const int number = tile_of(items, &c);  // of the tile
  const __global int *cu = CONST_AT(int, cu_seqlens);

  if (number >= tiles) {  // dinitial of empty sequences is their dfinal
    if (!GIVEN(dinitial)) return;
    int begin = (number - tiles) * empty_per_item, limit = min(begin + empty_per_item, sequences);
    for (int s = begin; s < limit; s++) {
      if (start_of(cu, s, tokens) < start_of(cu, s + 1, tokens)) continue;
      bool skipped = GIVEN(cache_indices) && slot_of(CONST_AT(int, cache_indices), s, pad_slot, LONG_MAX) < 0;
      bool through = GIVEN(dfinal) && GIVEN(has_initial) && CONST_AT(uchar, has_initial)[s] != 0 && !skipped;
      for (int j = 0; j < width - 1; j++) {
        Row row = (Row)(0);
        if (through) row = get_column(SLOT(dfinal, s, c), j, type);
        put_column(SLOT(dinitial, s, c), j, row, type);
      }
    }
    return;
  }

  const int from = number * tile, to = (int)min((long)from + tile, (long)tokens);
  ROWS_AHEAD;
#if STAGED  // all rows of the tile follow each other there, and those past its end
  const int last_ahead = (int)min((long)to + KEPT, (long)tokens);
  int next = from;  // the row that comes next
  start_ahead(AHEAD_ARGUMENTS, PLACE(x), x_pitch, PLACE(dout), dout_pitch, c, x_type, from, last_ahead);
#endif
  Values taps[TAPS], reversed[TAPS], bias, dw[TAPS], db = (Values)(0.0f);
  load_taps(CONST_AT(float, weights), weight_pitch, c, first, taps, &bias);
#pragma unroll
  for (int k = 0; k < TAPS; k++) {
    dw[k] = (Values)(0.0f);
#if !FIXED
    reversed[k] = 0.0f;
    if (k >= first) reversed[k] = packed_row(CONST_AT(float, weights), KEPT - k, weight_pitch, c);
#endif
  }

  const long dx_bytes = GIVEN(dx) ? dx_pitch * type_bytes(x_type) : 0;
  int t = from;
  for (int s = max(sequence_of(cu, sequences, from), 0); s < sequences && t < to; s++) {
    const int start = start_of(cu, s, tokens), end = start_of(cu, s + 1, tokens);
    t = max(t, start);
    const int stop = min(end, to);
    if (t >= stop) continue;

    if (GIVEN(cache_indices) && slot_of(CONST_AT(int, cache_indices), s, pad_slot, LONG_MAX) < 0) {
      if (t == start && GIVEN(dinitial)) {
        for (int j = 0; j < width - 1; j++) put_column(SLOT(dinitial, s, c), j, (Row)(0), type);
      }
      if (GIVEN(dx)) {
        for (; t < stop; t++) store_row(PLACE(dx), t * dx_pitch + c, (Row)(0), x_type);
      }
      t = stop;
      continue;
    }

    // The rows around [t, stop): the window before it; the first W-1 rows, which complete dinitial or nothing; those
    // after them, which all do the same; and the W-1 rows past its end, whose g its last rows need.
    const bool had = GIVEN(has_initial) && CONST_AT(uchar, has_initial)[s] != 0;
    const int segment = t;
    Values xs[KEPT], gs[KEPT];
#pragma unroll
    for (int j = 0; j < KEPT; j++) {
      xs[j] = (Values)(0.0f);
      gs[j] = (Values)(0.0f);
      int r = segment - KEPT + j;
      if (j >= first) {
        if (r >= start) {
          xs[j] = widen_row(load_row(PLACE(x), r * x_pitch + c, x_type), x_type);
        } else if (had) {
          xs[j] = widen_row(get_column(SLOT(initial, s, c), r - start + width - 1, type), type);
        }
      }
    }
#if STAGED
    const int limit = last_ahead;
    if (segment != next) start_ahead(AHEAD_ARGUMENTS, PLACE(x), x_pitch, PLACE(dout), dout_pitch, c, x_type, segment, limit);
    next = (int)min((long)stop + KEPT, (long)end);
#else
    const int limit = stop, within = min(segment + width - 1, stop);  // the first of the rows in between
    start_ahead(AHEAD_ARGUMENTS, PLACE(x), x_pitch, PLACE(dout), dout_pitch, c, x_type, within, limit);
#endif
    for (int edge = 0; edge < 2; edge++) {
      // Rows near an end, with every check. Those from `end` on have g = 0.
      const int rows = edge == 0 ? width - 1 : min(width - 1, stop + width - 1 - t);
#if STAGED
#pragma unroll
      for (int u = 0; u < KEPT; u++) {
        if (u >= rows) continue;
        Row x_row = (Row)(0), dout_row = (Row)(0);
        if (t + u < end) {
          Row taken[STEP * 2];
          take_ahead(AHEAD_ARGUMENTS, 1, PLACE(x), x_pitch, PLACE(dout), dout_pitch, c, x_type, t + u, limit, taken);
          x_row = taken[0];
          dout_row = taken[1];
        }
#elif FIXED  // all set out before the first is needed
      Row x_edge[KEPT], dout_edge[KEPT];
#pragma unroll
      for (int u = 0; u < KEPT; u++) {
        x_edge[u] = dout_edge[u] = (Row)(0);
        if (u < rows && t + u < end) {
          x_edge[u] = load_row(PLACE(x), (t + u) * x_pitch + c, x_type);
          dout_edge[u] = load_row(PLACE(dout), (t + u) * dout_pitch + c, x_type);
        }
      }
#pragma unroll
      for (int u = 0; u < KEPT; u++) {
        if (u >= rows) continue;
        const Row x_row = x_edge[u], dout_row = dout_edge[u];
#else
      for (int u = 0; u < rows; u++) {
        Row x_row = 0, dout_row = 0;
        if (t + u < end) {
          x_row = load_row(PLACE(x), (t + u) * x_pitch + c, x_type);
          dout_row = load_row(PLACE(dout), (t + u) * dout_pitch + c, x_type);
        }
#endif
        const int now = t + u, e = now - (width - 1);
        Values newest = (Values)(0.0f), g = (Values)(0.0f);
        if (now < end) {
          newest = widen_row(x_row, x_type);
          g = widen_row(dout_row, x_type);
          if (silu) g = slope(taps, bias, xs, newest, g);
          if (now < stop) add_sums(dw, &db, xs, newest, g);
        }
        const bool before = e < start;
        if ((e >= segment || (segment == start && before)) && (before ? GIVEN(dinitial) : GIVEN(dx))) {
          Values d = combine(taps, reversed, gs, g);
          if (GIVEN(dfinal) && e >= end - (width - 1)) {
            d += widen_row(get_column(SLOT(dfinal, s, c), e - end + width - 1, type), type);
          }
          if (before) {
            put_column(SLOT(dinitial, s, c), e - start + width - 1, had ? narrow_row(d, type) : (Row)(0), type);
          } else {
            store_row(PLACE(dx), e * dx_pitch + c, narrow_row(d, x_type), x_type);
          }
        }
        shift(xs, newest, first);
        shift(gs, g, first);
      }
      t += rows;
      if (edge > 0 || t >= stop) continue;

      __global uchar *to = GIVEN(dx) ? PLACE(dx) + ((t - (width - 1)) * dx_pitch + c) * type_bytes(x_type) : 0;
#if FIXED
      if (silu) {
#pragma unroll 1
        for (; STEP_FITS(t, stop); t += STEP) {
          whole_step(AHEAD_ARGUMENTS, PLACE(x), x_pitch, PLACE(dout), dout_pitch, to, dx_bytes, c, t, limit, taps, bias, true, xs, gs,
                     dw, &db);
          to += STEP * dx_bytes;
        }
      } else {
#pragma unroll 1
        for (; STEP_FITS(t, stop); t += STEP) {
          whole_step(AHEAD_ARGUMENTS, PLACE(x), x_pitch, PLACE(dout), dout_pitch, to, dx_bytes, c, t, limit, taps, bias, false, xs, gs,
                     dw, &db);
          to += STEP * dx_bytes;
        }
      }
#endif
#if STAGED
      for (; t < stop; t++) {
        Row taken[STEP * 2];
        take_ahead(AHEAD_ARGUMENTS, 1, PLACE(x), x_pitch, PLACE(dout), dout_pitch, c, x_type, t, limit, taken);
        row_within(taken[0], taken[1], taps, reversed, bias, silu, xs, gs, dw, &db, first, to, x_type);
        to += dx_bytes;
      }
#else
      for (; t < stop; t += AHEAD) {
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
          if (t + u < stop) {
            Row taken[2];
            take_row(AHEAD_ARGUMENTS, false, u, PLACE(x), x_pitch, PLACE(dout), dout_pitch, c, x_type, t + u, limit, taken);
            row_within(taken[0], taken[1], taps, reversed, bias, silu, xs, gs, dw, &db, first, to, x_type);
            to += dx_bytes;
          }
        }
      }
#endif
      t = stop;
    }
    t = stop;
  }

  if (GIVEN(partial)) {
    __global float *p = AT(float, partial) + (long)number * (width + 1) * weight_pitch + c;
#pragma unroll
    for (int k = 0; k <= TAPS; k++) {
      if (k >= first) {
        Values sum = k < TAPS ? dw[min(k, KEPT)] : db;
#if VECTOR == 8
        *(__global float4 *)(p + (k - first) * weight_pitch) = sum.lo;
        *(__global float4 *)(p + (k - first) * weight_pitch + 4) = sum.hi;
#else
        *(__global Values *)(p + (k - first) * weight_pitch) = sum;
#endif
      }
    }
  }
}
