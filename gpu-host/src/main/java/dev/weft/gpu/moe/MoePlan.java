package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec.Source;

/**
 * Where a forward pass keeps what in scratch memory, and in how many groups of tokens it works so
 * that the spec's workspace limit holds. Routing is done for all tokens at once; the experts'
 * activations and outputs, which are the bulk, exist for one group at a time. A pure function of
 * spec and tokens; offsets in bytes.
 */
public final class MoePlan {
  /** What differs between the backends. */
  public interface Stages {
    /** Scratch of the sort for the counts of its blocks. */
    long sortBytes(long slots, int experts);

    /**
     * The outputs of so many slots: one of the storage type for each, unless they come in parts.
     */
    default long outBytes(MoeDispatchSpec spec, long rows) {
      return rows * pitch(spec.hidden(), spec.dataType()) * spec.dataType().bytes();
    }
  }

  /** The fewest rows of a tile: lists are as long as that may make them. */
  public static final int LEAST_TILE_ROWS = 8;

  /** Fewer tokens than these are not worth a group of their own. */
  public static final int LEAST_GROUP = 256;

  private static final int ALIGNMENT = 256;
  private static final int TILE_BYTES = 16;

  private final MoeDispatchSpec spec;
  private final long tokens;
  private final long group;
  private long size;

  public final long ids;
  public final long weights;
  public final long logits;
  public final long blockCounts;
  public final long zRows;
  public final long sharedLogits;
  public final long permutation;
  public final long offsets;
  public final long projectTiles;
  public final long downTiles;
  public final long act;
  public final long out;
  public final long sharedAct;
  public final long sharedOut;

  private MoePlan(MoeDispatchSpec spec, Stages stages, long tokens, long group) {
    this.spec = spec;
    this.tokens = tokens;
    this.group = group;
    long slots = tokens * spec.topK();
    long rows = group * spec.topK();
    boolean computed = spec.router().hasLogits();
    ids = take(computed ? slots * Integer.BYTES : 0);
    weights = take(computed ? slots * Float.BYTES : 0);
    logits =
        take(spec.router().source() == Source.ROUTER ? tokens * spec.experts() * Float.BYTES : 0);
    blockCounts = take(stages.sortBytes(slots, spec.experts()));
    zRows =
        take(
            group < tokens && spec.modes().contains(MoeDispatchSpec.Mode.BACKWARD)
                ? slots * Integer.BYTES
                : 0);
    sharedLogits = take(spec.sharedGate() ? tokens * Float.BYTES : 0);
    permutation = take(rows * Integer.BYTES);
    offsets = take((spec.localExperts() + 1L) * Integer.BYTES);
    long tiles = (mostTiles(rows, spec.localExperts(), LEAST_TILE_ROWS) + 1) * TILE_BYTES;
    projectTiles = take(tiles);
    downTiles = take(tiles);
    DataType type = spec.dataType();
    act = take(rows * pitch(spec.intermediate(), type) * type.bytes());
    out = take(stages.outBytes(spec, rows));
    boolean shared = spec.sharedIntermediate() > 0;
    sharedAct = take(shared ? group * pitch(spec.sharedIntermediate(), type) * type.bytes() : 0);
    sharedOut = take(shared ? stages.outBytes(spec, group) : 0);
  }

  private long take(long bytes) {
    long at = size;
    size = Math.addExact(size, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    return at;
  }

  /** Elements from a scratch row to the next: a multiple of 16 bytes. */
  public static long pitch(int columns, DataType type) {
    int elements = 16 / type.bytes();
    return (columns + elements - 1L) / elements * elements;
  }

  /** The most tiles that rows of some experts can make. */
  public static long mostTiles(long rows, int experts, int tileRows) {
    return Math.min(rows, experts) + rows / tileRows;
  }

  /** The plan of a launch: one group if the limit allows, else the largest groups that it does. */
  public static MoePlan of(MoeDispatchSpec spec, Stages stages, long tokens) {
    MoePlan whole = new MoePlan(spec, stages, tokens, tokens);
    long limit = spec.workspaceLimit();
    if (whole.size <= limit || tokens <= LEAST_GROUP) {
      return whole;
    }
    long low = LEAST_GROUP; // taken whether it fits or not
    long high = tokens;
    while (high - low > 1) {
      long middle = (low + high) >>> 1;
      if (new MoePlan(spec, stages, tokens, middle).size <= limit) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return new MoePlan(spec, stages, tokens, low);
  }

  /**
   * What a launch of so many tokens needs. Where groups are needed it is the limit itself, which
   * they fill more or less well: more tokens never need less.
   */
  public static long bytes(MoeDispatchSpec spec, Stages stages, long tokens) {
    MoePlan plan = of(spec, stages, tokens);
    return plan.group < tokens ? Math.max(plan.size, spec.workspaceLimit()) : plan.size;
  }

  public long size() {
    return size;
  }

  /** Tokens of a group; the last may have fewer. */
  public long group() {
    return group;
  }

  public long tokens() {
    return tokens;
  }

  public long actPitch() {
    return pitch(spec.intermediate(), spec.dataType());
  }

  public long outPitch() {
    return pitch(spec.hidden(), spec.dataType());
  }

  public long sharedActPitch() {
    return pitch(spec.sharedIntermediate(), spec.dataType());
  }
}
