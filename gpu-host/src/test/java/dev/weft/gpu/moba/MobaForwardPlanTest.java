package dev.weft.gpu.moba;

import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.Limits;
import dev.weft.gpu.fixtures.MobaForwardPlanContract;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Scratch of forward and paged launches of the portable recipe. */
class MobaForwardPlanTest extends MobaForwardPlanContract {
  private static final int TILE_ROWS = 128;

  @Override
  protected long bytes(MobaAttentionSpec spec, Mode mode, Limits limits) {
    return MobaForwardPlan.of(spec, mode, limits, TILE_ROWS).bytes();
  }

  @Override
  protected long heads(MobaAttentionSpec spec, Mode mode, Limits limits) {
    return MobaForwardPlan.of(spec, mode, limits, TILE_ROWS).lists().heads();
  }

  @Test
  void areasDoNotOverlap() {
    MobaForwardPlan plan =
        MobaForwardPlan.of(
            spec(4, 5, Long.MAX_VALUE, Mode.FORWARD), Mode.FORWARD, Limits.of(5000, 3), TILE_ROWS);
    MobaListLayout lists = plan.lists();
    long parts = lists.heads() * lists.rows() * (lists.slots() + 1);
    assertTrue(plan.selectionAt() >= (long) lists.blocks() * 4 * 128 * 2);
    assertTrue(plan.listsAt() >= plan.selectionAt() + 4 * 4 * lists.entriesPerHead());
    assertTrue(plan.listOfTileAt() >= plan.listsAt() + lists.bytes());
    assertTrue(plan.partSumsAt() >= plan.listOfTileAt() + 4 * plan.mostTiles(lists.heads()));
    assertTrue(plan.partsAt() >= plan.partSumsAt() + 8 * parts);
    assertTrue(plan.bytes() >= plan.partsAt() + parts * 128 * 2);
  }

  @Test
  void thereIsRoomForTheTilesOfAnyLists() {
    SplittableRandom random = new SplittableRandom(2);
    for (int i = 0; i < 200; i++) {
      MobaForwardPlan plan =
          MobaForwardPlan.of(
              spec(2, 1 + random.nextInt(9), Long.MAX_VALUE, Mode.FORWARD),
              Mode.FORWARD,
              Limits.of(1 + random.nextInt(3000), 1 + random.nextInt(4)),
              TILE_ROWS);
      MobaListLayout lists = plan.lists();
      // The worst: as many lists as can be hold one entry more than whole tiles.
      long entries = lists.entriesPerHead();
      long used = Math.min(lists.blocks(), entries);
      long tiles = used + (entries - used) / TILE_ROWS;
      assertTrue(tiles <= plan.mostTiles(1), lists.toString());
    }
  }
}
