package dev.weft.gpu.moe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeDispatchSpec.Mode;
import org.junit.jupiter.api.Test;

/** The layout of scratch memory. Needs no GPU. */
class MoeBackwardPlanTest {
  private static final MoeBackwardPlan.Tiles TILES = new MoeBackwardPlan.Tiles(128, 64, true);

  private static MoeBackwardPlan plan(MoeDispatchSpec spec, long tokens) {
    return new MoeBackwardPlan(spec, TILES, tokens);
  }

  private static MoeDispatchSpec.Builder spec() {
    return MoeDispatchSpec.builder()
        .hidden(100)
        .intermediate(45)
        .experts(60)
        .topK(4)
        .sharedIntermediate(200)
        .sharedGate(true)
        .modes(Mode.FORWARD, Mode.BACKWARD);
  }

  @Test
  void moreTokensNeverNeedLess() {
    long before = 0;
    for (int tokens = 0; tokens < 40_000; tokens += tokens < 1100 ? 1 : 37) {
      long size = plan(spec().build(), tokens).size();
      assertTrue(size >= before, tokens + " tokens need " + size + ", fewer " + before);
      before = size;
    }
  }

  private static final MoePlan.Stages STAGES = (slots, experts) -> slots / 64 * experts;

  private static MoeBackwardPlan limited(MoeDispatchSpec spec, long tokens) {
    return MoeBackwardPlan.of(spec, TILES, STAGES, tokens);
  }

  @Test
  void aLimitIsKeptToByGroupsOfTokens() {
    long all = plan(spec().build(), 30_000).size();
    MoeDispatchSpec spec = spec().workspaceLimit(all / 3).build();
    MoeBackwardPlan plan = limited(spec, 30_000);
    assertTrue(plan.tokens < 15_000 && plan.tokens > 5_000, plan.tokens + " tokens");
    assertTrue(plan.size() <= all / 3);
    assertEquals(all / 3, MoeBackwardPlan.bytes(spec, TILES, STAGES, 30_000));
    assertTrue(limited(spec, 8_000).isWhole());
    MoeBackwardPlan last = new MoeBackwardPlan(spec, TILES, STAGES, 7, 30_000);
    assertEquals(plan.zOfSlot, last.zOfSlot);
    assertEquals(plan.blockCounts, last.blockCounts);
    assertTrue(last.size() <= plan.size());
  }

  @Test
  void withALimitMoreTokensNeverNeedLess() {
    MoeDispatchSpec spec = spec().workspaceLimit(3_000_000).build();
    long before = 0;
    for (int tokens = 0; tokens < 40_000; tokens += tokens < 1100 ? 1 : 371) {
      long size = MoeBackwardPlan.bytes(spec, TILES, STAGES, tokens);
      assertTrue(size >= before, tokens + " tokens need " + size + ", fewer " + before);
      before = size;
    }
  }

  @Test
  void gradientsOfANarrowTypeHaveOneGroup() {
    MoeDispatchSpec narrow = spec().gradientType(DataType.BF16).workspaceLimit(1).build();
    assertTrue(limited(narrow, 30_000).isWhole());
  }

  @Test
  void whatIsKeptIsOfTheStorageTypeOnMatrixUnitsOnly() {
    MoeDispatchSpec spec = spec().build();
    MoeBackwardPlan.Tiles plain = new MoeBackwardPlan.Tiles(64, 64, false);
    assertEquals(DataType.BF16, plan(spec, 8).keptType());
    assertEquals(DataType.F32, new MoeBackwardPlan(spec, plain, 8).keptType());
  }

  @Test
  void aSlotHasASumForEveryTileOfColumns() {
    assertEquals(1, plan(spec().build(), 8).sums(64));
    assertEquals(2, plan(spec().build(), 8).sums(65));
  }

  @Test
  void thereIsAColumnForEachLogitAndTheSharedGate() {
    MoeBackwardPlan plan = plan(spec().build(), 8);
    assertEquals(60, plan.routerColumns());
    assertEquals(61, plan.columnCount());
    assertEquals(64, plan.columnPitch());
  }

  @Test
  void everyTileOfEveryExpertHasAnEntry() {
    for (int tokens : new int[] {0, 1, 15, 31, 32, 33, 1000}) {
      MoeBackwardPlan plan = plan(spec().build(), tokens);
      long slots = tokens * 4L;
      // As many experts as can have one slot of a tile of their own, the rest whole tiles.
      long experts = Math.min(60, slots);
      long most = experts + (slots - experts) / TILES.tileRows();
      assertTrue(plan.routed.mostTiles >= most, tokens + " tokens");
    }
  }
}
