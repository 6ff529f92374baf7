package dev.weft.gpu.moba;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Limits;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Scratch of forward and paged launches of the portable recipe. */
class MobaForwardPlanTest {
  private static final int TILE_ROWS = 128;

  private static MobaAttentionSpec spec(int kvHeads, int topK, long limit, Mode mode) {
    MobaAttentionSpec.Builder builder =
        MobaAttentionSpec.builder()
            .dataType(DataType.BF16)
            .heads(16)
            .kvHeads(kvHeads)
            .headDim(128)
            .blockSize(64)
            .topK(topK)
            .workspaceLimit(limit)
            .modes(mode);
    return (mode == Mode.PAGED ? builder.pageSize(32) : builder).build();
  }

  @Test
  void largerLimitsNeverNeedLess() {
    SplittableRandom random = new SplittableRandom(1);
    for (int i = 0; i < 400; i++) {
      long limit = random.nextBoolean() ? Long.MAX_VALUE : random.nextLong(1L << 30);
      Mode mode = random.nextBoolean() ? Mode.FORWARD : Mode.PAGED;
      int kvHeads = 1 << random.nextInt(5);
      MobaAttentionSpec spec = spec(kvHeads, 1 + random.nextInt(12), limit, mode);
      long tokens = random.nextLong(150_000);
      long sequences = random.nextLong(300);
      long pages = mode == Mode.PAGED ? random.nextLong(4000) : 0;
      long needed = bytes(spec, mode, new Limits(tokens, sequences, pages));
      Limits more =
          new Limits(
              tokens + random.nextLong(20_000),
              sequences + random.nextLong(5),
              mode == Mode.PAGED ? pages + random.nextLong(200) : 0);
      assertTrue(bytes(spec, mode, more) >= needed, spec + " " + tokens + " " + more);
    }
  }

  private static long bytes(MobaAttentionSpec spec, Mode mode, Limits limits) {
    return MobaForwardPlan.of(spec, mode, limits, TILE_ROWS).bytes();
  }

  @Test
  void aLimitMakesHeadsGoInGroups() {
    MobaAttentionSpec free = spec(16, 8, Long.MAX_VALUE, Mode.FORWARD);
    Limits limits = Limits.of(8192, 1);
    assertEquals(16, MobaForwardPlan.of(free, Mode.FORWARD, limits, TILE_ROWS).lists().heads());
    MobaAttentionSpec one = spec(16, 8, 1, Mode.FORWARD);
    assertEquals(1, MobaForwardPlan.of(one, Mode.FORWARD, limits, TILE_ROWS).lists().heads());
    long half = bytes(free, Mode.FORWARD, limits) / 2;
    MobaAttentionSpec limited = spec(16, 8, half, Mode.FORWARD);
    assertTrue(bytes(limited, Mode.FORWARD, limits) <= half);
    assertTrue(MobaForwardPlan.of(limited, Mode.FORWARD, limits, TILE_ROWS).lists().heads() > 1);
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
