package dev.weft.backend.cpu.parallel;

import java.util.concurrent.ConcurrentLinkedQueue;
import org.jspecify.annotations.Nullable;

/**
 * Arrays for one task at a time: packed panels and sums, sized by tiles and never by a whole launch
 * (what grows with a launch lies in the stream's workspace). They only grow, so that a warm device
 * allocates none. Of any content.
 */
final class TaskScratch {
  private final float[] @Nullable [] arrays = new float[16] @Nullable [];

  /**
   * Returns an array.
   *
   * @param slot which of the task's arrays, below 16
   * @param length at least so many floats
   */
  float[] floats(int slot, int length) {
    float[] array = arrays[slot];
    if (array == null || array.length < length) {
      array = new float[length];
      arrays[slot] = array;
    }
    return array;
  }

  /**
   * The scratch of a device: as many as tasks ever ran at once. Safe for use by several threads.
   */
  static final class Pool {
    private final ConcurrentLinkedQueue<TaskScratch> free = new ConcurrentLinkedQueue<>();

    TaskScratch take() {
      TaskScratch scratch = free.poll();
      return scratch == null ? new TaskScratch() : scratch;
    }

    void giveBack(TaskScratch scratch) {
      free.add(scratch);
    }
  }
}
