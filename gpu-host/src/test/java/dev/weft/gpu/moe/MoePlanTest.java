package dev.weft.gpu.moe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.moe.MoeDispatchSpec;
import org.junit.jupiter.api.Test;

/** How scratch memory is laid out. */
class MoePlanTest {
  private static final MoePlan.Stages STAGES = MoeRecipe.STAGES;

  private static MoeDispatchSpec.Builder spec() {
    return MoeDispatchSpec.builder()
        .hidden(2048)
        .intermediate(768)
        .experts(128)
        .topK(8)
        .sharedIntermediate(512)
        .sharedGate(true)
        .modes(MoeDispatchSpec.Mode.FORWARD, MoeDispatchSpec.Mode.BACKWARD);
  }

  @Test
  void moreTokensNeverNeedLess() {
    for (long limit : new long[] {1, 3 << 20, 64 << 20, Long.MAX_VALUE}) {
      MoeDispatchSpec spec = spec().workspaceLimit(limit).build();
      long before = 0;
      for (int tokens = 0; tokens < 6000; tokens += tokens < 700 ? 1 : 37) {
        long bytes = MoePlan.bytes(spec, STAGES, tokens);
        assertTrue(bytes >= before, tokens + " tokens, limit " + limit);
        before = bytes;
      }
    }
  }

  @Test
  void theLimitHoldsUnlessTheSmallestGroupNeedsMore() {
    long limit = 64 << 20;
    MoeDispatchSpec spec = spec().workspaceLimit(limit).build();
    for (int tokens : new int[] {1, 1000, 5000, 40_000}) {
      assertTrue(MoePlan.of(spec, STAGES, tokens).size() <= limit, tokens + " tokens");
      assertTrue(MoePlan.bytes(spec, STAGES, tokens) <= limit, tokens + " tokens");
    }
    assertTrue(MoePlan.of(spec, STAGES, 40_000).group() > MoePlan.LEAST_GROUP);
    MoeDispatchSpec tight = spec().workspaceLimit(1).build();
    assertEquals(MoePlan.LEAST_GROUP, MoePlan.of(tight, STAGES, 5000).group());
  }

  @Test
  void aLaunchNeverNeedsMoreThanWasReserved() {
    MoeDispatchSpec spec = spec().workspaceLimit(30 << 20).build();
    for (int tokens = 0; tokens < 3000; tokens += 13) {
      assertTrue(MoePlan.of(spec, STAGES, tokens).size() <= MoePlan.bytes(spec, STAGES, tokens));
    }
  }

  @Test
  void withoutALimitThereIsOneGroup() {
    assertEquals(8192, MoePlan.of(spec().build(), STAGES, 8192).group());
  }
}
