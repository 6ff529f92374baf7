package dev.weft.gpu.moe;

import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Region;
import org.jspecify.annotations.Nullable;

/**
 * Sorts slots by expert, stably, on the device: the permutation, where each expert's rows start,
 * the counts and the tile lists. One dispatch for few slots, three for many; moe/sort says how.
 */
final class SlotSort {
  /** Slots that one group sorts by itself. */
  static final int MOST_OF_ONE_GROUP = 1024;

  /** Slots of a block, where there are several. */
  static final int BLOCK_SLOTS = 1024;

  private static final int GROUP = 256;
  private static final KernelName SOURCE = KernelName.of("moe/sort", "moe_sort_all");

  private final ComputeKernel few;
  private final ComputeKernel all;
  private final ComputeKernel count;
  private final ComputeKernel scan;
  private final ComputeKernel place;

  SlotSort(ComputeDevice device) {
    few = device.kernel(SOURCE.function("moe_sort_few"));
    all = device.kernel(SOURCE);
    count = device.kernel(SOURCE.function("moe_sort_count"));
    scan = device.kernel(SOURCE.function("moe_sort_scan"));
    place = device.kernel(SOURCE.function("moe_sort_place"));
  }

  /**
   * What to sort and where the results go; null for what is not wanted.
   *
   * @param ids [tokens, topK] I32
   * @param idPitch of ids
   * @param tokenCount [1] I32: tokens that are there, counted from before firstToken; null for all
   * @param firstToken the number of the first token of ids
   * @param tokens rows of ids
   * @param topK slots of a token
   * @param experts E: ids outside of it are no experts
   * @param firstExpert the first local expert
   * @param localExperts how many there are
   * @param permutation [slots] I32
   * @param fillsTail whether entries of the permutation beyond the local slots become -1
   * @param inverse [slots] I32: the sorted row of each slot, -1 for those not local
   * @param counts [E] I32
   * @param offsets [localExperts + 1] I32
   * @param projectTiles a tile list
   * @param projectRows rows of its tiles
   * @param downTiles a tile list
   * @param downRows rows of its tiles
   * @param blockCounts scratch of {@link #blockCountBytes}
   */
  record Work(
      @Nullable Region ids,
      long idPitch,
      @Nullable Region tokenCount,
      int firstToken,
      int tokens,
      int topK,
      int experts,
      int firstExpert,
      int localExperts,
      @Nullable Region permutation,
      boolean fillsTail,
      @Nullable Region inverse,
      @Nullable Region counts,
      @Nullable Region offsets,
      @Nullable Region projectTiles,
      int projectRows,
      @Nullable Region downTiles,
      int downRows,
      @Nullable Region blockCounts) {}

  /** Scratch for the counts of blocks. */
  static long blockCountBytes(long slots, int experts) {
    return slots <= MOST_OF_ONE_GROUP
        ? 0
        : (slots + BLOCK_SLOTS - 1) / BLOCK_SLOTS * experts * Integer.BYTES;
  }

  void enqueue(ComputeStream stream, Work w) {
    int slots = Math.multiplyExact(w.tokens, w.topK);
    if (slots <= GROUP) {
      dispatch(stream, few, 1, w, slots);
      return;
    }
    if (slots <= MOST_OF_ONE_GROUP) {
      dispatch(stream, all, 1, w, slots);
      return;
    }
    int blocks = (slots + BLOCK_SLOTS - 1) / BLOCK_SLOTS;
    dispatch(stream, count, blocks, w, slots);
    dispatch(stream, scan, 1, w, slots);
    if (w.permutation != null || w.inverse != null) {
      dispatch(stream, place, blocks, w, slots);
    }
  }

  private static void dispatch(
      ComputeStream stream, ComputeKernel kernel, long groups, Work w, int slots) {
    stream
        .arguments()
        .region(w.ids)
        .region(w.tokenCount)
        .region(w.permutation)
        .region(w.inverse)
        .region(w.counts)
        .region(w.offsets)
        .region(w.projectTiles)
        .region(w.downTiles)
        .region(w.blockCounts)
        .value(w.idPitch)
        .value(w.firstToken)
        .value(w.tokens)
        .value(w.topK)
        .value(slots)
        .value(w.experts)
        .value(w.firstExpert)
        .value(w.localExperts)
        .value(w.projectRows)
        .value(w.downRows)
        .value(w.fillsTail ? 1 : 0)
        .value((slots + BLOCK_SLOTS - 1) / BLOCK_SLOTS);
    stream.dispatch(kernel, groups, 1, 1, GROUP);
  }
}
