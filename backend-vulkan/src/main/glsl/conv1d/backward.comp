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
// Tiles are long, so that partials stay small, and about the same length, so that `tile` only tells how many there are. No
// barriers.
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

// From row to row, in bytes. Fixed forms are for steps of less than 2^32, so that an address is one multiply-add.
#ifdef TYPE
#define Step uint
#else
#define Step int64_t
#endif

// Some rows of x and of dout.
struct Rows {
  uint64_t x, dout;
  Step x_step, dout_step;
  int count, type;
};

struct Pair {
  Row x, dout;
};

// Row i of both, or the last.
Pair pair_at(Rows rows, int i) {
  const uint64_t row = uint64_t(uint(min(i, rows.count - 1)));
  return Pair(load_row(rows.x + row * uint64_t(rows.x_step), 0, rows.type),
              load_row(rows.dout + row * uint64_t(rows.dout_step), 0, rows.type));
}

// What the loop over rows changes.
struct Sums {
  Values xs[KEPT], gs[KEPT];  // windows of x and g
  Values dw[TAPS], db;
};

// A row of a turn, which has a g, is summed, and completes a dx that no dfinal reaches; a macro, as it may leave the
// loop. The branch before it keeps what a row's arithmetic needs in registers to that row.
#define ROW(u)                                                                                       \
  if (u < TURN) {                                                                                    \
    if (u > 0 && u >= count) break;                                                                  \
    const Values newest = widen_row(taken[u].x, rows.type);                                          \
    Values g = widen_row(taken[u].dout, rows.type);                                                  \
    if (silu) g = slope(taps, bias, sums.xs, newest, g);                                             \
    add_sums(sums.dw, sums.db, sums.xs, newest, g);                                                  \
    if (GIVEN(dx)) {                                                                                 \
      const Values d = combine(taps, reversed, sums.gs, g);                                          \
      store_row(dx, 0, silu ? narrow_activated(d, rows.type) : narrow_row(d, rows.type), rows.type); \
      dx += uint64_t(dx_step);                                                                       \
    }                                                                                                \
    shift(sums.xs, newest, first);                                                                   \
    shift(sums.gs, g, first);                                                                        \
  }

// `count` rows from the i-th on, a turn after the other, while the next turn's set out. Drivers copy what a loop
// carries, and so wait for it, where a turn ends: that is why a turn is long and its loads come first. `silu` is a
// constant wherever this is called.
void walk(Values taps[TAPS], Values reversed[TAPS], Values bias, bool silu, inout Pair ahead[TURN], Rows rows, int i,
          int count, inout Sums sums, int first, uint64_t dx, Step dx_step) {
  [[dont_unroll]] for (; count > 0; count -= TURN) {
    Pair taken[TURN];
    i += TURN;
    [[unroll]] for (int u = 0; u < TURN; u++) {
      taken[u] = ahead[u];
      ahead[u] = pair_at(rows, i + u);
    }
    ROW(0)
    ROW(1)
    ROW(2)
    ROW(3)
#if VECTOR > 1
    ROW(4)
    ROW(5)
#endif
  }
}

// W-1 rows from the i-th on. Forms that take anything read them when they need them.
void load_edge(Rows rows, int i, inout Pair edges[KEPT]) {
  if (FIXED) {
    [[unroll]] for (int u = 0; u < KEPT; u++) edges[u] = pair_at(rows, i + u);
  }
}

// The same at the start of a segment, and the turn after them.
void set_out(Rows rows, int i, int width, inout Pair edges[KEPT], inout Pair ahead[TURN]) {
  load_edge(rows, i, edges);
  [[unroll]] for (int u = 0; u < TURN; u++) ahead[u] = pair_at(rows, i + width - 1 + u);
}

bool has_initial(int s) { return GIVEN(has_initial) && load_byte(a.has_initial, s) != 0u; }

bool is_skipped(int s) {
  return GIVEN(cache_indices) && slot_of(a.cache_indices, s, a.pad_slot, ANY_SLOT) < 0;
}

// Tiles of about the same length, which start where sequences do if all are as long and their number allows it.
int first_token(int tile, int tokens, int tiles) {
  return tile * (tokens / tiles) + int(uint(tile) * uint(tokens % tiles) / uint(tiles));  // tiles are few
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
      bool through = GIVEN(dfinal) && has_initial(s) && !is_skipped(s);
      for (int j = 0; j < width - 1; j++) {
        Row row = Row(0);
        if (through) row = get_column(SLOT(dfinal, s, c), j, type);
        put_column(SLOT(dinitial, s, c), j, row, type);
      }
    }
    return;
  }

  const int from = first_token(number, tokens, a.tiles), to = first_token(number + 1, tokens, a.tiles);
  const int64_t bytes = element(x_type);
  // From the window before the tile to the W-1 rows past its end, whose g its last ones need.
  const int reach = max(from - KEPT, 0);
  const Rows rows =
      Rows(a.x + uint64_t((reach * a.x_pitch + c) * bytes), a.dout + uint64_t((reach * a.dout_pitch + c) * bytes),
           Step(a.x_pitch * bytes), Step(a.dout_pitch * bytes), int(min(int64_t(to) + width - 1, int64_t(tokens))) - reach, x_type);
  // Rows and taps do not depend on the search: let them travel meanwhile. (Padding rows may be loaded, but nothing is
  // computed from them.)
  Row before[KEPT];
  Pair edges[KEPT], ahead[TURN];  // those near an end of a segment, and those within it
  Values taps[TAPS], reversed[TAPS], bias;
  Sums sums;
  [[unroll]] for (int j = 0; j < KEPT; j++) {
    if (j >= first) before[j] = pair_at(rows, max(from - KEPT + j, 0) - reach).x;
  }
  set_out(rows, from - reach, width, edges, ahead);
  load_taps(a.weights, a.weight_pitch, c, first, taps, bias);
  int s = max(sequence_of(cu, sequences, from), 0);
  sums.db = ZERO;
  [[unroll]] for (int k = 0; k < TAPS; k++) {
    sums.dw[k] = ZERO;
    reversed[k] = ZERO;
    if (!FIXED && k >= first) reversed[k] = packed_row(a.weights, KEPT - k, a.weight_pitch, c);
  }

  // What the next sequence needs sets out while this one is worked on: its end, whether it has a state, and its rows.
  int t = from, ready = from;
  int end = start_of(cu, s, tokens), next_end = start_of(cu, min(s + 1, sequences), tokens);
  bool next_had = s < sequences && has_initial(s);
  for (; s < sequences && t < to; s++) {
    const int start = end;
    end = next_end;
    next_end = start_of(cu, min(s + 2, sequences), tokens);
    const bool had = next_had;
    next_had = has_initial(min(s + 1, sequences - 1));
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
    if (t != ready) set_out(rows, t - reach, width, edges, ahead);
    const int segment = t;
    // States travel together, and the initial one before it is known whether there is one.
    const bool opens = FIXED && segment == start;
    Row given[KEPT];
    no_rows(given);
    if (opens && GIVEN(has_initial)) get_columns(SLOT(initial, s, c), 0, first, type, given);
    [[unroll]] for (int j = 0; j < KEPT; j++) {
      sums.xs[j] = ZERO;
      sums.gs[j] = ZERO;
      int r = segment - KEPT + j;
      if (j >= first) {
        if (r >= start) {
          sums.xs[j] = widen_row(before[j], x_type);
        } else if (had) {
          if (!opens) given[j] = get_column(SLOT(initial, s, c), r - start + width - 1, type);
          sums.xs[j] = widen_row(given[j], type);
        }
      }
    }
    [[dont_unroll]] for (int edge = 0; edge < 2; edge++) {
      // Rows near an end, with every check. Those from `end` on have g = 0.
      const int count = edge == 0 ? width - 1 : min(width - 1, stop + width - 1 - t);
      const bool closes = FIXED && t == end;
      Row state[KEPT];  // dfinal, or dinitial
      no_rows(state);
      if (closes && GIVEN(dfinal)) get_columns(SLOT(dfinal, s, c), 0, first, type, state);
      [[unroll]] for (int u = 0; u < KEPT; u++) {
        if (u < count) {
          Values newest = ZERO, g = ZERO;
          if (t < end) {
            if (!FIXED) edges[u] = pair_at(rows, t - reach);
            newest = widen_row(edges[u].x, x_type);
            g = widen_row(edges[u].dout, x_type);
            if (silu) g = slope(taps, bias, sums.xs, newest, g);
            if (t < stop) add_sums(sums.dw, sums.db, sums.xs, newest, g);
          }
          const int e = t - (width - 1);
          const bool early = e < start;
          if ((e >= segment || (segment == start && early)) && (early ? GIVEN(dinitial) : GIVEN(dx))) {
            Values d = combine(taps, reversed, sums.gs, g);
            if (GIVEN(dfinal) && t >= end) {
              Row final = state[u];
              if (!closes) final = get_column(SLOT(dfinal, s, c), t - end, type);
              d = plus(d, widen_row(final, type));
            }
            if (early) {
              Row row = Row(0);
              if (had) row = narrow_row(d, type);
              if (opens) {
                state[u] = row;
              } else {
                put_column(SLOT(dinitial, s, c), e - start + width - 1, row, type);
              }
            } else {
              store_row(a.dx, e * a.dx_pitch + c, silu ? narrow_activated(d, x_type) : narrow_row(d, x_type), x_type);
            }
          }
          shift(sums.xs, newest, first);
          shift(sums.gs, g, first);
          t++;
        }
      }
      if (edge > 0) break;
      if (opens && GIVEN(dinitial)) put_columns(SLOT(dinitial, s, c), first, type, state);
      const int left = stop - t;
      if (left > 0) {
        const Step dx_step = Step(a.dx_pitch * bytes);
        const uint64_t dx = a.dx + uint64_t(((t - (width - 1)) * a.dx_pitch + c) * bytes);
        if (silu) {
          walk(taps, reversed, bias, true, ahead, rows, t - reach, left, sums, first, dx, dx_step);
        } else {
          walk(taps, reversed, bias, false, ahead, rows, t - reach, left, sums, first, dx, dx_step);
        }
        t = stop;
      }
      if (stop == end) {  // no row has a g there: those of the next sequence take its place
        if (stop < to) {
          set_out(rows, stop - reach, width, edges, ahead);
          ready = stop;
        }
      } else if (FIXED && left > 0 && left % TURN == 0) {  // what comes after a turn is ahead
        [[unroll]] for (int u = 0; u < KEPT && u < TURN; u++) edges[u] = ahead[u];
      } else {
        load_edge(rows, t - reach, edges);
      }
    }
    t = stop;
  }

  if (GIVEN(partial)) {
    int64_t row = int64_t(number) * (width + 1);
    [[unroll]] for (int k = 0; k < TAPS; k++) {
      if (k >= first) store_packed_row(a.partial, row + k - first, a.weight_pitch, c, sums.dw[k]);
    }
    store_packed_row(a.partial, row + width, a.weight_pitch, c, sums.db);
  }
}
