package dev.weft.gpu.conv1d;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class Conv1dPlanTest {
  private static final int H200 = 132;

  @Test
  void tilesCoverEveryTokenOnce() {
    for (int tokens : new int[] {1, 2, 63, 64, 65, 1000, 65536, Integer.MAX_VALUE}) {
      assertCovers(tokens, Conv1dPlan.forward(8192, 8, tokens, 3, H200));
      assertCovers(tokens, Conv1dPlan.forwardInShortTiles(8192, 8, tokens, 3, H200));
    }
  }

  private static void assertCovers(int tokens, Conv1dPlan plan) {
    assertTrue((long) plan.tile() * plan.tiles() >= tokens, plan.toString());
    assertTrue((long) plan.tile() * (plan.tiles() - 1) < tokens, plan.toString());
  }

  @Test
  void shortTilesFillTheLastWave() {
    for (int tokens : new int[] {1024, 2048, 4096, 8192, 16384, 32768, 65536}) {
      Conv1dPlan plan = Conv1dPlan.forwardInShortTiles(8192, 8, tokens, 1, H200);
      assertTrue(plan.tile() >= 14 && plan.tile() <= 18, plan.toString());
      double waves = plan.tiles() * plan.columns() / (4.0 * H200);
      assertTrue(Math.ceil(waves) - waves < 0.15 || waves > 8, "waves " + waves);
    }
    assertEquals(4, Conv1dPlan.forwardInShortTiles(8192, 8, 128, 1, H200).tile());
    assertEquals(2, Conv1dPlan.forwardInShortTiles(8192, 8, 128, 128, H200).tile());
  }

  @Test
  void blocksCoverEveryChannelWithFewIdleThreads() {
    for (int channels : new int[] {8, 40, 2048, 5376, 8192, 10240, 12288}) {
      Conv1dPlan plan = Conv1dPlan.forward(channels, 8, 4096, 1, H200);
      int covered = plan.threads() * plan.columns() * 8;
      assertTrue(covered >= channels && covered - channels < 32 * 8, plan.toString());
    }
    assertEquals(96, Conv1dPlan.forward(5376, 8, 4096, 1, H200).threads());
  }

  @Test
  void shortSequencesGetShortTiles() {
    assertTrue(Conv1dPlan.forward(8192, 8, 65536, 65536, H200).tile() <= 4);
    int tile = Conv1dPlan.forward(8192, 8, 65536, 1, H200).tile();
    assertTrue(tile > 56 && tile <= 64, "tile " + tile);
  }

  @Test
  void partialSumsKeepToTheWorkspaceLimit() {
    assertEquals(1, Conv1dPlan.backwardTiles(8192, 4, 100_000, 1, H200));
    assertEquals(0, Conv1dPlan.backwardTiles(8192, 4, 0, Long.MAX_VALUE, H200));
    int before = 0;
    for (long tokens = 1; tokens < 1_000_000; tokens *= 3) {
      int tiles = Conv1dPlan.backwardTiles(8192, 4, tokens, Long.MAX_VALUE, H200);
      assertTrue(tiles >= before);
      before = tiles;
      assertTrue(Conv1dPlan.backward(8192, 4, 4, tokens, Long.MAX_VALUE, H200).tiles() <= tiles);
    }
  }
}
