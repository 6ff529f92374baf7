package dev.weft.backend.cuda.moe;

import dev.weft.gpu.moe.MoePlan;

/**
 * Slots sorted by expert, on the device; experts.cuh says what each array holds. For the shared
 * expert there are none of them: its rows are the tokens.
 *
 * @param permutation [rows] I32, the slot of each sorted row; 0 where rows are tokens
 * @param offsets [experts + 1] I32; 0 where rows are tokens
 * @param projectTiles the tile list of the first projection; 0 where none was asked for
 * @param downTiles the tile list of the second
 * @param mostRows how many rows there can be: host-known
 */
record SortedRows(
    long permutation, long offsets, long projectTiles, long downTiles, long mostRows) {
  /** Tokens as they come. */
  static SortedRows tokens(long tokens) {
    return new SortedRows(0, 0, 0, 0, tokens);
  }

  /** The most tiles of so many rows each. */
  long mostTiles(int experts, int tileRows) {
    return permutation == 0
        ? (mostRows + tileRows - 1) / tileRows
        : MoePlan.mostTiles(mostRows, experts, tileRows);
  }
}
