package dev.weft.gpu;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What is said of devices that are too small: no, with the numbers. */
class RecipesTest {
  private static final CausalConv1dSpec CONV =
      CausalConv1dSpec.builder().channels(8).width(4).build();
  private static final MobaAttentionSpec MOBA =
      MobaAttentionSpec.builder().heads(2).kvHeads(1).headDim(64).blockSize(64).topK(2).build();
  private static final MoeDispatchSpec MOE =
      MoeDispatchSpec.builder().hidden(64).intermediate(64).experts(4).topK(2).build();

  private static ComputeTraits traits(int mostGroupSize, long localBytes) {
    return new ComputeTraits(4, mostGroupSize, localBytes, MatrixUnits.NONE, 32, false);
  }

  @Test
  void whatOpenClAsksOfEveryDeviceIsEnough() {
    for (OperationSpec<?> spec : List.of(CONV, MOBA, MOE)) {
      Support support = Recipes.supports(traits(256, 32 * 1024), spec);
      assertTrue(support.isSupported(), () -> spec + ": " + support.reason());
    }
  }

  @Test
  void smallGroupsAreNamedWithTheirSize() {
    for (OperationSpec<?> spec : List.of(CONV, MOBA, MOE)) {
      Support support = Recipes.supports(traits(16, 32 * 1024), spec);
      assertFalse(support.isSupported(), spec::toString);
      assertTrue(support.reason().contains("16"), support.reason());
    }
  }

  @Test
  void littleLocalMemoryIsNamedWithItsBytes() {
    for (OperationSpec<?> spec : List.of(MOBA, MOE)) {
      Support support = Recipes.supports(traits(256, 1000), spec);
      assertFalse(support.isSupported(), spec::toString);
      assertTrue(support.reason().contains("1000 bytes"), support.reason());
    }
  }
}
