package dev.weft.backend.cuda.moba;

import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Limits;
import dev.weft.gpu.fixtures.MobaForwardPlanContract;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import org.junit.jupiter.api.Test;

/** Scratch of forward and paged launches, and what thread blocks hold. Needs no GPU. */
class MobaForwardPlanTest extends MobaForwardPlanContract {
  /** What a thread block may have on compute capability 8.6 and 8.9. */
  private static final int LEAST_OPT_IN = 99 * 1024;

  @Override
  protected long bytes(MobaAttentionSpec spec, Mode mode, Limits limits) {
    return MobaForwardPlan.of(spec, mode, limits).bytes();
  }

  @Override
  protected long heads(MobaAttentionSpec spec, Mode mode, Limits limits) {
    return MobaForwardPlan.of(spec, mode, limits).lists().heads();
  }

  @Test
  void areasDoNotOverlap() {
    MobaForwardPlan plan =
        MobaForwardPlan.of(
            spec(4, 5, Long.MAX_VALUE, Mode.FORWARD), Mode.FORWARD, Limits.of(5000, 3));
    long entries = plan.lists().heads() * plan.lists().entriesPerHead();
    assertTrue(plan.listsAt() >= (long) plan.lists().blocks() * 4 * 128 * 2);
    assertTrue(plan.selectionAt() >= plan.listsAt() + plan.lists().bytes());
    assertTrue(plan.partialLseAt() >= plan.selectionAt() + 4 * entries);
    assertTrue(plan.partialsAt() >= plan.partialLseAt() + 4 * entries);
    assertTrue(plan.bytes() >= plan.partialsAt() + entries * 128 * 2);
  }

  @Test
  void tilesFitTheSharedMemoryOfEveryDevice() {
    for (DataType type : new DataType[] {DataType.BF16, DataType.F16, DataType.F32}) {
      for (int width : new int[] {64, 128, 256}) {
        MobaTiles tiles = new MobaTiles(type, width);
        assertTrue(tiles.listedSharedBytes() <= LEAST_OPT_IN, tiles.listed());
        assertTrue(tiles.ownSharedBytes() <= LEAST_OPT_IN, tiles.own());
        for (int most : new int[] {MobaTiles.ANY, 8, 32}) {
          assertTrue(tiles.selectSharedBytes(most) <= LEAST_OPT_IN, tiles.select(most));
        }
      }
    }
  }
}
