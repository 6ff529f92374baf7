package dev.weft.backend.cpu.parallel;

import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/**
 * Arrays for one thread of a run, or for one launch. They only grow, so that a warm device
 * allocates none. Of any content.
 */
final class TaskScratch {
  private static final int SLOTS = 24;

  private final float[] @Nullable [] floats = new float[SLOTS] @Nullable [];
  private final int[] @Nullable [] ints = new int[SLOTS] @Nullable [];
  private final double[] @Nullable [] doubles = new double[SLOTS] @Nullable [];
  private final long[] @Nullable [] longs = new long[SLOTS] @Nullable [];
  private final @Nullable IntRows[] tables = new @Nullable IntRows[SLOTS];

  /**
   * Returns an array.
   *
   * @param slot which of the arrays, below 24
   * @param length at least so many floats
   */
  float[] floats(int slot, int length) {
    float[] array = floats[slot];
    if (array == null || array.length < length) {
      array = new float[length];
      floats[slot] = array;
    }
    return array;
  }

  /** As {@link #floats}; slots are counted for each type. */
  int[] ints(int slot, int length) {
    int[] array = ints[slot];
    if (array == null || array.length < length) {
      array = new int[length];
      ints[slot] = array;
    }
    return array;
  }

  /** As {@link #floats}; slots are counted for each type. */
  double[] doubles(int slot, int length) {
    double[] array = doubles[slot];
    if (array == null || array.length < length) {
      array = new double[length];
      doubles[slot] = array;
    }
    return array;
  }

  /** As {@link #floats}; slots are counted for each type. */
  long[] longs(int slot, int length) {
    long[] array = longs[slot];
    if (array == null || array.length < length) {
      array = new long[length];
      longs[slot] = array;
    }
    return array;
  }

  /** Returns an empty list of rows; slots are counted for each type. */
  IntRows rows(int slot) {
    IntRows table = tables[slot];
    if (table == null) {
      table = new IntRows();
      tables[slot] = table;
    }
    table.clear();
    return table;
  }

  /**
   * The scratch of a device: as many as ever were in use at once. A thread is given back what it
   * had before where possible, since that lies in its caches. Safe for use by several threads.
   */
  static final class Pool {
    private final AtomicReferenceArray<@Nullable TaskScratch> free;

    /**
     * Makes an empty pool.
     *
     * @param kept how many to keep at most; others go to the garbage
     */
    Pool(int kept) {
      free = new AtomicReferenceArray<>(kept);
    }

    TaskScratch take() {
      int kept = free.length();
      int own = own();
      for (int i = 0; i < kept; i++) {
        int at = (own + i) % kept;
        TaskScratch scratch = free.get(at);
        if (scratch != null && free.compareAndSet(at, scratch, null)) {
          return scratch;
        }
      }
      return new TaskScratch();
    }

    void giveBack(TaskScratch scratch) {
      int kept = free.length();
      int own = own();
      for (int i = 0; i < kept; i++) {
        int at = (own + i) % kept;
        if (free.get(at) == null && free.compareAndSet(at, null, scratch)) {
          return;
        }
      }
    }

    private int own() {
      return (int) (Thread.currentThread().threadId() % free.length());
    }
  }
}
