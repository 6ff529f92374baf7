package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec.Source;

/**
 * Where a backward pass keeps what in scratch memory, and how it is cut. A pure function of spec
 * and tokens; offsets in bytes.
 *
 * <p>The routed experts and the shared one run one after the other and share the memory of what
 * only they read. What a slot's z needed is free once its dx is written, so those share theirs too.
 */
final class MoeBackwardPlan {
  /** Rows and columns of a tile, as backward_tile.cuh has it. */
  static final int TILE = 128;

  /** Tokens of a piece of the sums of router weights, unless there would be too many pieces. */
  private static final int LEAST_PIECE = 512;

  private static final int MOST_PIECES = 32;
  private static final int ALIGNMENT = 256;

  /** The lists of who the slots of experts are. */
  static final class Lists {
    final long starts;
    final long experts;
    final long tiles;
    final long tileCount;
    final long rowTokens;
    final long rowWeights;
    final long rows;
    final long mostTiles;

    private Lists(MoeBackwardPlan plan, long rows, long experts) {
      this.rows = rows;
      mostTiles = rows / TILE + Math.min(rows, experts);
      starts = plan.take((experts + 1) * Integer.BYTES);
      this.experts = plan.take(experts * 2 * Integer.BYTES);
      tiles = plan.take(mostTiles * 2 * Integer.BYTES);
      tileCount = plan.take(Integer.BYTES);
      rowTokens = plan.take(rows * Integer.BYTES);
      rowWeights = plan.take(rows * Float.BYTES);
    }
  }

  private final MoeDispatchSpec spec;
  private long size;

  final long tokens;
  final Lists routed;
  final Lists shared;
  final long inverse;
  final long allTokens;
  final long dweights;
  final long dscores;
  final long sharedLogits;
  final long weightSums;
  final long sharedSums;
  final long columns;
  final long partial;
  final long sharedDx;
  final long dz;
  final long activation;
  final long activationLow;
  final long zOrDx;

  MoeBackwardPlan(MoeDispatchSpec spec, long tokens) {
    this.spec = spec;
    this.tokens = tokens;
    long slots = tokens * spec.topK();
    boolean sharedExpert = spec.sharedIntermediate() > 0;
    long sharedRows = sharedExpert ? tokens : 0;
    routed = new Lists(this, slots, spec.localExperts());
    shared = new Lists(this, sharedRows, 1);
    inverse = take(slots * Integer.BYTES);
    allTokens = take(2 * Integer.BYTES);
    dweights = take(slots * Float.BYTES);
    dscores = take(slots * Float.BYTES);
    sharedLogits = take(sharedRows * Float.BYTES);
    weightSums = take(tiles(spec.intermediate()) * slots * Float.BYTES);
    sharedSums = take(tiles(spec.sharedIntermediate()) * sharedRows * Float.BYTES);
    columns = take(tokens * columnPitch() * Float.BYTES);
    partial = take(pieces() * columnCount() * spec.hidden() * Float.BYTES);
    int bytes = keptType().bytes();
    long hidden = pitch(spec.hidden());
    sharedDx = take(sharedRows * hidden * bytes);
    long projected = slots * pitch(spec.projected());
    long sharedProjected = sharedRows * pitch(spec.sharedProjected());
    dz = take(Math.max(projected, sharedProjected) * bytes);
    long activations =
        Math.max(slots * pitch(spec.intermediate()), sharedRows * pitch(spec.sharedIntermediate()))
            * bytes;
    activation = take(activations);
    activationLow = take(keepsLowPart() ? activations : 0);
    zOrDx =
        take(Math.max(Math.max(projected, sharedProjected) * Float.BYTES, slots * hidden * bytes));
  }

  private long take(long bytes) {
    long at = size;
    size = Math.addExact(size, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    return at;
  }

  /** All of it. */
  long size() {
    return size;
  }

  /** Whether products of experts run on tensor cores: two equal types of 16 bits. */
  static boolean onTensorCores(MoeDispatchSpec spec) {
    return spec.dataType() == spec.weightType() && spec.dataType().bytes() == 2;
  }

  /** The type of what is kept between stages to be multiplied. */
  DataType keptType() {
    return onTensorCores(spec) ? spec.dataType() : DataType.F32;
  }

  /** Whether what F16 loses of small numbers is kept beside them: see lowPart of backward.cuh. */
  boolean keepsLowPart() {
    return keptType() == DataType.F16;
  }

  /** Elements from a scratch row to the next: whole 16-byte words of every type. */
  static long pitch(long columns) {
    return (columns + 7) / 8 * 8;
  }

  static long tiles(long elements) {
    return (elements + TILE - 1) / TILE;
  }

  /** Logits whose gradients reach x: the router's, where it is not given logits or ids. */
  int routerColumns() {
    return spec.router().source() == Source.ROUTER ? spec.experts() : 0;
  }

  /** The same and the gate of the shared expert. */
  int columnCount() {
    return routerColumns() + (spec.sharedGate() ? 1 : 0);
  }

  long columnPitch() {
    return pitch(columnCount());
  }

  /** Tokens of a piece of the sums of router weights. */
  long piece() {
    return Math.max(LEAST_PIECE, (tokens + MOST_PIECES - 1) / MOST_PIECES);
  }

  /** How many pieces there are; grows with the tokens. */
  long pieces() {
    return columnCount() == 0 ? 0 : (tokens + piece() - 1) / piece();
  }
}
