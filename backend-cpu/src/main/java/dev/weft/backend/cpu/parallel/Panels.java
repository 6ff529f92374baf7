package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;

/** Between rows and the lanes of panels. */
final class Panels {
  private static final int LANES = Arithmetic.LANES;

  private Panels() {}

  /** Copies a row into a lane. */
  static void toLane(float[] row, int from, int count, float[] panel, int at) {
    for (int i = 0; i < count; i++) {
      panel[at + i * LANES] = row[from + i];
    }
  }

  /** Copies a lane into a row. */
  static void toRow(float[] panel, int at, int count, float[] row, int into) {
    for (int i = 0; i < count; i++) {
      row[into + i] = panel[at + i * LANES];
    }
  }

  static void clearLane(int count, float[] panel, int at) {
    for (int i = 0; i < count; i++) {
      panel[at + i * LANES] = 0;
    }
  }
}
