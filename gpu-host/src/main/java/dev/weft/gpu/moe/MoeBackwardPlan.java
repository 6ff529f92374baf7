package dev.weft.gpu.moe;

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
public final class MoeBackwardPlan {
  /**
   * What differs between backends.
   *
   * @param tileRows rows of a tile of slots
   * @param sumColumns columns of which each slot has one sum
   * @param onMatrixUnits whether products of experts run on matrix units: then what is kept to be
   *     multiplied has the storage type, else it is F32
   */
  public record Tiles(int tileRows, int sumColumns, boolean onMatrixUnits) {}

  /** Tokens of a piece of the sums of router weights, unless there would be too many pieces. */
  private static final int LEAST_PIECE = 512;

  private static final int MOST_PIECES = 32;
  private static final int ALIGNMENT = 256;

  /** The lists of who the slots of experts are. */
  public static final class Lists {
    public final long starts;
    public final long experts;
    public final long tiles;
    public final long tileCount;
    public final long rowTokens;
    public final long rowWeights;
    public final long rows;
    public final long mostTiles;

    private Lists(MoeBackwardPlan plan, long rows, long experts) {
      this.rows = rows;
      mostTiles = rows / plan.tiles.tileRows() + Math.min(rows, experts);
      starts = plan.take((experts + 1) * Integer.BYTES);
      this.experts = plan.take(experts * 2 * Integer.BYTES);
      tiles = plan.take(mostTiles * 2 * Integer.BYTES);
      tileCount = plan.take(Integer.BYTES);
      rowTokens = plan.take(rows * Integer.BYTES);
      rowWeights = plan.take(rows * Float.BYTES);
    }
  }

  private final MoeDispatchSpec spec;
  private final Tiles tiles;
  private long size;

  public final long tokens;
  public final Lists routed;
  public final Lists shared;
  public final long inverse;
  public final long allTokens;
  public final long dweights;
  public final long dscores;
  public final long sharedLogits;
  public final long weightSums;
  public final long sharedSums;
  public final long columns;
  public final long partial;
  public final long sharedDx;
  public final long dz;
  public final long activation;
  public final long activationLow;
  public final long zOrDx;

  /** Lays out what a launch of so many tokens needs. */
  public MoeBackwardPlan(MoeDispatchSpec spec, Tiles tiles, long tokens) {
    this.spec = spec;
    this.tiles = tiles;
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
    weightSums = take(sums(spec.intermediate()) * slots * Float.BYTES);
    sharedSums = take(sums(spec.sharedIntermediate()) * sharedRows * Float.BYTES);
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
  public long size() {
    return size;
  }

  /** The type of what is kept between stages to be multiplied. */
  public DataType keptType() {
    return tiles.onMatrixUnits() ? spec.dataType() : DataType.F32;
  }

  /** Whether what F16 loses of small numbers is kept beside them: F16 has few bits for them. */
  public boolean keepsLowPart() {
    return keptType() == DataType.F16;
  }

  /** Elements from a scratch row to the next: whole 16-byte words of every type. */
  public static long pitch(long columns) {
    return (columns + 7) / 8 * 8;
  }

  /** Sums that a slot has of so many columns. */
  public int sums(int columns) {
    return (columns + tiles.sumColumns() - 1) / tiles.sumColumns();
  }

  /** Logits whose gradients reach x: the router's, where it is not given logits or ids. */
  public int routerColumns() {
    return spec.router().source() == Source.ROUTER ? spec.experts() : 0;
  }

  /** The same and the gate of the shared expert. */
  public int columnCount() {
    return routerColumns() + (spec.sharedGate() ? 1 : 0);
  }

  /** Elements from a token's logits to the next. */
  public long columnPitch() {
    return pitch(columnCount());
  }

  /** Tokens of a piece of the sums of router weights. */
  public long piece() {
    return Math.max(LEAST_PIECE, (tokens + MOST_PIECES - 1) / MOST_PIECES);
  }

  /** How many pieces there are; grows with the tokens. */
  public long pieces() {
    return columnCount() == 0 ? 0 : (tokens + piece() - 1) / piece();
  }
}
