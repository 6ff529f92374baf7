package dev.weft.backend.cuda.moe;

import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;

/**
 * Sorts slots by expert, stably, on the device: the permutation, where each expert's rows start,
 * the counts and the tile lists. One launch for few slots, three for many; moe_sort.cu says how.
 */
final class SlotSort {
  /** Slots that one block sorts by itself; counters of a warp are 16 bits wide. */
  static final int MOST_OF_ONE_BLOCK = 4096;

  /** Slots of a block, where there are several. */
  static final int BLOCK_SLOTS = 1024;

  static final String ONE_BLOCK = "moe_sort_one_block";
  static final String COUNT = "moe_sort_count";
  static final String SCAN = "moe_sort_scan";
  static final String PLACE = "moe_sort_place";

  private static final int ONE_BLOCK_THREADS = 1024;
  private static final int ONE_BLOCK_WARPS = ONE_BLOCK_THREADS / 32;
  private static final int BLOCK_THREADS = 256;

  private final KernelFunction oneBlock;
  private final KernelFunction count;
  private final KernelFunction scan;
  private final KernelFunction place;

  SlotSort(CudaDevice device) {
    oneBlock = device.kernel(ONE_BLOCK);
    count = device.kernel(COUNT);
    scan = device.kernel(SCAN);
    place = device.kernel(PLACE);
  }

  /**
   * What to sort and where the results go; addresses on the device, 0 for what is not wanted.
   *
   * @param ids [tokens, topK] I32
   * @param idPitch of ids
   * @param tokenCount [1] I32: tokens that are there, counted from before firstToken; 0 for all
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
   * @param zeroed I32 that become 0, for the kernels that follow
   * @param zeroedCount how many
   */
  record Work(
      long ids,
      long idPitch,
      long tokenCount,
      int firstToken,
      int tokens,
      int topK,
      int experts,
      int firstExpert,
      int localExperts,
      long permutation,
      boolean fillsTail,
      long inverse,
      long counts,
      long offsets,
      long projectTiles,
      int projectRows,
      long downTiles,
      int downRows,
      long blockCounts,
      long zeroed,
      int zeroedCount) {}

  /** Scratch for the counts of blocks. */
  static long blockCountBytes(long slots, int experts) {
    return slots <= MOST_OF_ONE_BLOCK
        ? 0
        : (slots + BLOCK_SLOTS - 1) / BLOCK_SLOTS * experts * Integer.BYTES;
  }

  void enqueue(CudaStream stream, Work w) {
    int slots = Math.multiplyExact(w.tokens, w.topK);
    if (slots <= MOST_OF_ONE_BLOCK) {
      put(stream, w, slots);
      stream.launch(
          oneBlock,
          LaunchShape.of(1, 1, ONE_BLOCK_THREADS)
              .withShared(w.experts * ONE_BLOCK_WARPS * Short.BYTES)
              .overlappingPredecessor());
      return;
    }
    int blocks = (slots + BLOCK_SLOTS - 1) / BLOCK_SLOTS;
    put(stream, w, slots);
    stream.launch(count, LaunchShape.of(blocks, 1, BLOCK_THREADS).overlappingPredecessor());
    put(stream, w, slots);
    stream.launch(scan, LaunchShape.of(1, 1, ONE_BLOCK_THREADS).overlappingPredecessor());
    put(stream, w, slots);
    stream.launch(place, LaunchShape.of(blocks, 1, BLOCK_THREADS).overlappingPredecessor());
  }

  private static void put(CudaStream stream, Work w, int slots) {
    stream
        .parameters()
        .put(w.ids)
        .put(w.tokenCount)
        .put(w.permutation)
        .put(w.inverse)
        .put(w.counts)
        .put(w.offsets)
        .put(w.projectTiles)
        .put(w.downTiles)
        .put(w.blockCounts)
        .put(w.zeroed)
        .put(w.idPitch)
        .put(w.firstToken)
        .put(w.tokens)
        .put(w.topK)
        .put(slots)
        .put(w.experts)
        .put(w.firstExpert)
        .put(w.localExperts)
        .put(w.projectRows)
        .put(w.downRows)
        .put(w.fillsTail ? 1 : 0)
        .put((slots + BLOCK_SLOTS - 1) / BLOCK_SLOTS)
        .put(w.zeroedCount);
  }
}
