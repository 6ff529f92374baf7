package dev.weft.gpu.conv1d;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class Conv1dTilesTest {
  private static final int H200 = 132;

  @Test
  void tilesCoverEveryTokenOnce() {
    for (int items : new int[] {1, 3, 1024, 8192}) {
      for (int tokens : new int[] {1, 2, 65, 1000, 65536, Integer.MAX_VALUE}) {
        Conv1dTiles cut = Conv1dTiles.forward(items, tokens, 3, H200, 4);
        assertTrue((long) cut.tile() * cut.tiles() >= tokens, cut.toString());
        assertTrue((long) cut.tile() * (cut.tiles() - 1) < tokens, cut.toString());
      }
    }
  }

  @Test
  void groupsHoldEveryWorkItemAndNoGroupIdles() {
    for (int items : new int[] {1, 3, 127, 128, 129, 672, 1024}) {
      for (int more : new int[] {0, 1, 7}) {
        Conv1dTiles cut = Conv1dTiles.forward(items, 5000, 3, H200, 3);
        long needed = ((long) cut.tiles() + more) * items;
        long held = cut.groups(more) * Conv1dTiles.GROUP_SIZE;
        assertTrue(held >= needed && held < needed + Conv1dTiles.GROUP_SIZE, cut.toString());
      }
    }
    assertEquals(0, Conv1dTiles.forward(1024, 0, 3, H200, 3).groups(0));
  }

  @Test
  void forwardTilesMakeWholeWavesAndAreShorterForShortSequences() {
    assertEquals(new Conv1dTiles(1024, 168, 49), Conv1dTiles.forward(1024, 8192, 1, H200, 3));
    assertEquals(168, Conv1dTiles.forward(1024, 32768, 1, H200, 3).tile());
    assertEquals(168, Conv1dTiles.forward(1024, 16384, 256, H200, 3).tile());
    assertEquals(6, Conv1dTiles.forward(1024, 256, 256, H200, 3).tile());
  }

  @Test
  void updatesShareWorkItemsOnceTheDeviceIsFull() {
    assertEquals(1, Conv1dTiles.update(1024, 8, H200).tile());
    assertEquals(8, Conv1dTiles.update(1024, 512, H200).tile());
    assertEquals(64, Conv1dTiles.update(1024, 512, H200).tiles());
  }

  @Test
  void backwardKeepsToTheTilesThatScratchHasRoomFor() {
    for (int tokens : new int[] {0, 1, 31, 4096, Integer.MAX_VALUE}) {
      for (int most : new int[] {1, 48, 256}) {
        Conv1dTiles cut = Conv1dTiles.backward(2048, tokens, most);
        assertTrue(cut.tiles() <= most && (long) cut.tile() * cut.tiles() >= tokens);
      }
    }
  }
}
