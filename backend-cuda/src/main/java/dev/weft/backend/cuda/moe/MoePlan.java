package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec.Source;

/**
 * Where a forward pass keeps what in scratch memory, and in how many groups of tokens it works so
 * that the spec's workspace limit holds. Routing is done for all tokens at once; the experts'
 * activations and outputs, which are the bulk, exist for one group at a time. A pure function of
 * spec and tokens; offsets in bytes.
 */
final class MoePlan {
  /** The fewest rows of a tile: lists are as long as that may make them. */
  static final int LEAST_TILE_ROWS = 8;

  /** Fewer tokens than these are not worth a group of their own. */
  static final int LEAST_GROUP = 256;

  private static final int ALIGNMENT = 256;
  private static final int TILE_BYTES = 16;

  private final MoeDispatchSpec spec;
  private final long tokens;
  private final long group;
  private long size;

  final long ids;
  final long weights;
  final long logits;
  final long blockCounts;
  final long zRows;
  final long sharedLogits;
  final long permutation;
  final long offsets;
  final long projectTiles;
  final long downTiles;
  final long act;
  final long out;
  final long sharedAct;
  final long sharedOut;

  private MoePlan(MoeDispatchSpec spec, long tokens, long group) {
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
    blockCounts = take(SlotSort.blockCountBytes(slots, spec.experts()));
    zRows =
        take(
            group < tokens && spec.modes().contains(MoeDispatchSpec.Mode.BACKWARD)
                ? slots * Integer.BYTES
                : 0);
    sharedLogits = take(spec.sharedGate() ? tokens * Float.BYTES : 0);
    permutation = take(rows * Integer.BYTES);
    offsets = take((spec.localExperts() + 1L) * Integer.BYTES);
    long tiles =
        (SortedRows.mostTiles(rows, spec.localExperts(), LEAST_TILE_ROWS) + 1) * TILE_BYTES;
    projectTiles = take(tiles);
    downTiles = take(tiles);
    DataType type = spec.dataType();
    act = take(rows * pitch(spec.intermediate(), type) * type.bytes());
    out = take(rows * pitch(spec.hidden(), type) * type.bytes());
    boolean shared = spec.sharedIntermediate() > 0;
    sharedAct = take(shared ? group * pitch(spec.sharedIntermediate(), type) * type.bytes() : 0);
    sharedOut = take(shared ? group * pitch(spec.hidden(), type) * type.bytes() : 0);
  }

  private long take(long bytes) {
    long at = size;
    size = Math.addExact(size, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    return at;
  }

  /** Elements from a scratch row to the next: a multiple of 16 bytes. */
  static long pitch(int columns, DataType type) {
    int elements = 16 / type.bytes();
    return (columns + elements - 1L) / elements * elements;
  }

  /** The plan of a launch: one group if the limit allows, else the largest groups that it does. */
  static MoePlan of(MoeDispatchSpec spec, long tokens) {
    MoePlan whole = new MoePlan(spec, tokens, tokens);
    long limit = spec.workspaceLimit();
    if (whole.size <= limit || tokens <= LEAST_GROUP) {
      return whole;
    }
    long low = LEAST_GROUP; // taken whether it fits or not
    long high = tokens;
    while (high - low > 1) {
      long middle = (low + high) >>> 1;
      if (new MoePlan(spec, tokens, middle).size <= limit) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return new MoePlan(spec, tokens, low);
  }

  /**
   * What a launch of so many tokens needs. Where groups are needed it is the limit itself, which
   * they fill more or less well: more tokens never need less.
   */
  static long bytes(MoeDispatchSpec spec, long tokens) {
    MoePlan plan = of(spec, tokens);
    return plan.group < tokens ? Math.max(plan.size, spec.workspaceLimit()) : plan.size;
  }

  long size() {
    return size;
  }

  /** Tokens of a group; the last may have fewer. */
  long group() {
    return group;
  }

  long tokens() {
    return tokens;
  }

  long actPitch() {
    return pitch(spec.intermediate(), spec.dataType());
  }

  long outPitch() {
    return pitch(spec.hidden(), spec.dataType());
  }

  long sharedActPitch() {
    return pitch(spec.sharedIntermediate(), spec.dataType());
  }
}
