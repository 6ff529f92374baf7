package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.gpu.Region;
import org.jspecify.annotations.Nullable;

/**
 * One run of experts over rows; pitches in elements.
 *
 * @param weights the routed experts' or the shared one's
 * @param rows which rows, by expert
 * @param x [tokens, H]
 * @param xPitch of x
 * @param aligned whether rows of x and of all weights start at multiples of 16 bytes
 * @param firstToken the number of the first row of x in the call: the device's count of tokens
 *     counts from before it
 * @param tokens rows of x
 * @param tokenCount [1] I32: how many are there; null for all
 * @param topK slots of a token: 1 for the shared expert
 * @param act [mostRows, I] scratch in the type of x, 16-byte aligned
 * @param actPitch of act, a multiple of 16 bytes
 * @param out parts of [tokens * topK, H] scratch in slot order, or [tokens, H] for the shared
 *     expert
 * @param outPitch of out, a multiple of 16 bytes
 * @param parts in how many parts the second product is summed
 * @param z where to save the projection, or null
 * @param zPitch of z
 * @param zRows [tokens * topK] I32, the row of z by slot; null where rows of z are the sorted rows
 */
record ExpertWork(
    ExpertWeights weights,
    SortedRows rows,
    Region x,
    long xPitch,
    boolean aligned,
    int firstToken,
    int tokens,
    @Nullable Region tokenCount,
    int topK,
    @Nullable Region act,
    long actPitch,
    @Nullable Region out,
    long outPitch,
    int parts,
    @Nullable Region z,
    long zPitch,
    @Nullable Region zRows) {

  /** Rows of out. */
  long slots() {
    return (long) tokens * topK;
  }

  /** The type of out: parts are F32. */
  DataType outType(DataType dataType) {
    return parts > 1 ? DataType.F32 : dataType;
  }
}
