package dev.weft.gpu.moe;

import dev.weft.gpu.Region;
import org.jspecify.annotations.Nullable;

/**
 * Slots sorted by expert, on the device; moe/experts says what each array holds. For the shared
 * expert there are none of them: its rows are the tokens.
 *
 * @param permutation [rows] I32, the slot of each sorted row; null where rows are tokens
 * @param offsets [experts + 1] I32; null where rows are tokens
 * @param tiles the tile list; null where rows are tokens
 * @param mostRows how many rows there can be: host-known
 */
record SortedRows(
    @Nullable Region permutation, @Nullable Region offsets, @Nullable Region tiles, long mostRows) {
  /** Tokens as they come. */
  static SortedRows tokens(long tokens) {
    return new SortedRows(null, null, null, tokens);
  }

  boolean isShared() {
    return permutation == null;
  }

  /** The most tiles of so many rows each. */
  int mostTiles(int experts, int tileRows) {
    return Math.toIntExact(
        isShared()
            ? (mostRows + tileRows - 1) / tileRows
            : MoePlan.mostTiles(mostRows, experts, tileRows));
  }
}
