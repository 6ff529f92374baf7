package dev.weft.backend.cpu.parallel;

import java.util.Arrays;

/**
 * A list of rows of a few integers each, kept from launch to launch so that a warm one allocates
 * nothing: what work is cut into.
 */
final class IntRows {
  private static final int WIDTH = 5;

  private int[] values = new int[16 * WIDTH];
  private int count;

  void clear() {
    count = 0;
  }

  void add(int a, int b, int c, int d, int e) {
    int at = count * WIDTH;
    if (at + WIDTH > values.length) {
      values = Arrays.copyOf(values, 2 * values.length);
    }
    values[at] = a;
    values[at + 1] = b;
    values[at + 2] = c;
    values[at + 3] = d;
    values[at + 4] = e;
    count++;
  }

  int count() {
    return count;
  }

  /** Returns a number of a row, the first being 0. */
  int get(int row, int column) {
    return values[row * WIDTH + column];
  }
}
