package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec.Source;

/**
 * Where a backward pass keeps what in scratch memory, and how it is cut. A pure function of spec
 * and tokens; offsets in bytes.
 *
 * <p>A backend may keep to the spec's workspace limit by working on groups of tokens, one after the
 * other, adding up the gradients of parameters over them in F32. Those of a narrower type would be
 * rounded each time, so for them there is one group.
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

  /** Fewer tokens than these are not worth a group of their own. */
  static final int LEAST_GROUP = 256;

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

  /** Of a group. */
  public final long tokens;

  /** Of all groups. */
  public final long all;

  // Of groups alone: the row of z that forward saved for each slot of all tokens, scratch of the
  // sorts, the order of the group's slots, and the rows of z in that order.
  public final long zOfSlot;
  public final long blockCounts;
  public final long offsets;
  public final long permutation;
  public final long zRows;

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

  /** Lays out what a launch of so many tokens needs, all at once. */
  public MoeBackwardPlan(MoeDispatchSpec spec, Tiles tiles, long tokens) {
    this(spec, tiles, (slots, experts) -> 0, tokens, tokens);
  }

  /** A group of {@code tokens} among {@code all}; what groups share lies first, in one place. */
  public MoeBackwardPlan(
      MoeDispatchSpec spec, Tiles tiles, MoePlan.Stages stages, long tokens, long all) {
    this.spec = spec;
    this.tiles = tiles;
    this.tokens = tokens;
    this.all = all;
    long slots = tokens * spec.topK();
    long sorted = isWhole() ? 0 : all * spec.topK();
    zOfSlot = take(sorted * Integer.BYTES);
    blockCounts = take(isWhole() ? 0 : stages.sortBytes(sorted, spec.experts()));
    offsets = take(isWhole() ? 0 : (spec.localExperts() + 1L) * Integer.BYTES);
    permutation = take(isWhole() ? 0 : slots * Integer.BYTES);
    zRows = take(isWhole() ? 0 : slots * Integer.BYTES);
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

  /** One group if the limit allows (or gradients are narrow), else the largest that it does. */
  public static MoeBackwardPlan of(
      MoeDispatchSpec spec, Tiles tiles, MoePlan.Stages stages, long tokens) {
    MoeBackwardPlan whole = new MoeBackwardPlan(spec, tiles, tokens);
    long limit = spec.workspaceLimit();
    if (whole.size <= limit || tokens <= LEAST_GROUP || spec.gradientType() != DataType.F32) {
      return whole;
    }
    long low = LEAST_GROUP; // taken whether it fits or not
    long high = tokens;
    while (high - low > 1) {
      long middle = (low + high) >>> 1;
      if (new MoeBackwardPlan(spec, tiles, stages, middle, tokens).size <= limit) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return new MoeBackwardPlan(spec, tiles, stages, low, tokens);
  }

  /** What a pass needs. With groups it is the limit itself: more tokens never need less. */
  public static long bytes(MoeDispatchSpec spec, Tiles tiles, MoePlan.Stages stages, long tokens) {
    MoeBackwardPlan plan = of(spec, tiles, stages, tokens);
    return plan.isWhole() ? plan.size : Math.max(plan.size, spec.workspaceLimit());
  }

  /** Whether there is one group. */
  public boolean isWhole() {
    return tokens == all;
  }

  private long take(long bytes) {
    long at = size;
    size = Math.addExact(size, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    return at;
  }

  /** All of it, but for what a limit leaves over. */
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
