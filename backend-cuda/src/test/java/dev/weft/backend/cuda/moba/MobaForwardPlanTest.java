package dev.weft.backend.cuda.moba;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Limits;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Scratch of forward and paged launches, and what thread blocks hold. Needs no GPU. */
class MobaForwardPlanTest {
  /** What a thread block may have on compute capability 8.6 and 8.9. */
  private static final int LEAST_OPT_IN = 99 * 1024;

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
    return MobaForwardPlan.of(spec, mode, limits).bytes();
  }

  @Test
  void aLimitMakesHeadsGoInGroups() {
    MobaAttentionSpec free = spec(16, 8, Long.MAX_VALUE, Mode.FORWARD);
    Limits limits = Limits.of(8192, 1);
    assertEquals(16, MobaForwardPlan.of(free, Mode.FORWARD, limits).lists().heads());
    MobaAttentionSpec one = spec(16, 8, 1, Mode.FORWARD);
    assertEquals(1, MobaForwardPlan.of(one, Mode.FORWARD, limits).lists().heads());
    long half = bytes(free, Mode.FORWARD, limits) / 2;
    MobaAttentionSpec limited = spec(16, 8, half, Mode.FORWARD);
    assertTrue(bytes(limited, Mode.FORWARD, limits) <= half);
    assertTrue(MobaForwardPlan.of(limited, Mode.FORWARD, limits).lists().heads() > 1);
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
