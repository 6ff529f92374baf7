package dev.weft.backend.cuda.moba;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.Limits;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class MobaBackwardPlanTest {
  private static MobaAttentionSpec.Builder spec(int heads, int kvHeads, int block, int topK) {
    return MobaAttentionSpec.builder()
        .heads(heads)
        .kvHeads(kvHeads)
        .headDim(128)
        .blockSize(block)
        .topK(topK)
        .modes(Mode.BACKWARD);
  }

  @Test
  void largerLimitsNeverNeedLess() {
    SplittableRandom random = new SplittableRandom(5);
    for (int i = 0; i < 2000; i++) {
      int kvHeads = 1 + random.nextInt(8);
      MobaAttentionSpec spec =
          spec(
                  kvHeads * (1 + random.nextInt(4)),
                  kvHeads,
                  1 + random.nextInt(600),
                  1 + random.nextInt(9))
              .workspaceLimit(random.nextBoolean() ? Long.MAX_VALUE : random.nextLong(1, 1L << 29))
              .build();
      int tokens = random.nextInt(300_000);
      int sequences = random.nextInt(1000);
      long bytes = MobaBackwardPlan.of(spec, Limits.of(tokens, sequences)).bytes();
      Limits larger = Limits.of(tokens + random.nextInt(3000), sequences + random.nextInt(3));
      assertTrue(bytes <= MobaBackwardPlan.of(spec, larger).bytes(), spec + " " + larger);
    }
  }

  @Test
  void groupsFitTheBytesThatWereAskedFor() {
    SplittableRandom random = new SplittableRandom(6);
    for (int i = 0; i < 2000; i++) {
      MobaAttentionSpec spec =
          spec(16, 16, 1 + random.nextInt(600), 1 + random.nextInt(9))
              .workspaceLimit(random.nextLong(1, 1L << 30))
              .build();
      MobaBackwardPlan plan = MobaBackwardPlan.of(spec, Limits.of(random.nextInt(100_000), 3));
      long used = plan.partialsAt() + plan.partialHeads() * plan.partialBytes();
      assertTrue(used <= plan.bytes(), spec.toString());
      assertTrue(plan.partialHeads() >= 1 && plan.partialHeads() <= plan.lists().heads());
      boolean oneGroup = plan.partialHeads() == 1 && plan.lists().heads() == 1;
      assertTrue(oneGroup || plan.bytes() <= spec.workspaceLimit(), spec.toString());
    }
  }

  @Test
  void theLargeShapeStaysBelowTheMemoryOfOthers() {
    MobaAttentionSpec spec = spec(16, 16, 512, 8).build();
    long bytes = MobaBackwardPlan.of(spec, Limits.of(32768, 1)).bytes();
    assertTrue(bytes < 800L << 20, "bytes: " + bytes);
  }

  @Test
  void withoutAnythingSelectedThereAreTheOwnPartialsAlone() {
    MobaBackwardPlan plan = MobaBackwardPlan.of(spec(4, 2, 64, 1).build(), Limits.of(500, 2));
    assertEquals(500L * 2 * 128 * 4, plan.partialBytes());
    assertEquals(0, plan.lists().entriesPerHead());
  }

  @Test
  void moreEntriesThanTheirNumbersHoldAreRefused() {
    MobaAttentionSpec spec = spec(64, 1, 64, 65).build();
    assertThrows(
        IllegalArgumentException.class, () -> MobaBackwardPlan.of(spec, Limits.of(1 << 21, 1)));
  }
}
