package dev.weft.gpu.moba;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Limits;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Scratch of backward launches of the portable recipe. */
class MobaBackwardPlanTest {
  private static final int ROWS = 128;

  private static MobaAttentionSpec spec(int kvHeads, int topK, long limit) {
    return MobaAttentionSpec.builder()
        .dataType(DataType.F16)
        .heads(16)
        .kvHeads(kvHeads)
        .headDim(64)
        .blockSize(128)
        .topK(topK)
        .workspaceLimit(limit)
        .modes(Mode.BACKWARD)
        .build();
  }

  @Test
  void largerLimitsNeverNeedLess() {
    SplittableRandom random = new SplittableRandom(3);
    for (int i = 0; i < 400; i++) {
      long limit = random.nextBoolean() ? Long.MAX_VALUE : random.nextLong(1L << 30);
      MobaAttentionSpec spec = spec(1 << random.nextInt(5), 1 + random.nextInt(12), limit);
      long tokens = random.nextLong(100_000);
      long sequences = random.nextLong(300);
      Limits more = Limits.of(tokens + random.nextLong(20_000), sequences + random.nextLong(5));
      assertTrue(
          MobaBackwardPlan.of(spec, more, ROWS).bytes()
              >= MobaBackwardPlan.of(spec, Limits.of(tokens, sequences), ROWS).bytes(),
          spec + " " + tokens + " " + more);
    }
  }

  @Test
  void aLimitMakesHeadsGoInGroups() {
    Limits limits = Limits.of(4096, 1);
    MobaBackwardPlan free = MobaBackwardPlan.of(spec(16, 8, Long.MAX_VALUE), limits, ROWS);
    assertEquals(16, free.lists().heads());
    assertEquals(16, free.partHeads());
    MobaBackwardPlan one = MobaBackwardPlan.of(spec(16, 8, 1), limits, ROWS);
    assertEquals(1, one.lists().heads());
    assertEquals(1, one.partHeads());
    MobaBackwardPlan half = MobaBackwardPlan.of(spec(16, 8, free.bytes() / 2), limits, ROWS);
    assertTrue(half.bytes() <= free.bytes() / 2);
    assertTrue(half.partHeads() > 1);
  }

  @Test
  void areasDoNotOverlap() {
    MobaBackwardPlan plan =
        MobaBackwardPlan.of(spec(4, 5, Long.MAX_VALUE), Limits.of(5000, 3), ROWS);
    long heads = plan.partHeads();
    assertTrue(plan.listsAt() >= 8L * 5000 * 16);
    assertTrue(plan.listOfTileAt() >= plan.listsAt() + plan.lists().bytes());
    assertTrue(plan.partsAt() >= plan.listOfTileAt() + 4 * plan.mostTiles(plan.lists().heads()));
    assertTrue(plan.bytes() >= plan.partsAt() + heads * plan.lists().rows() * 5 * 4 * 64);
  }
}
