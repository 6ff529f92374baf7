package dev.weft.backend.cpu.reference;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.GroupScore;
import dev.weft.moe.RouterSpec.Normalize;
import dev.weft.moe.RouterSpec.Score;
import org.junit.jupiter.api.Test;

class ExpertChoiceTest {
  private static final double NAN = Double.NaN;
  private static final double NONE = Double.NEGATIVE_INFINITY;

  private static RouterSpec router(Score score) {
    return RouterSpec.builder().score(score).build();
  }

  private static RouterSpec grouped(int groups, int kept, GroupScore groupScore, boolean biased) {
    return RouterSpec.builder()
        .score(Score.SIGMOID)
        .correctionBias(biased)
        .groups(groups, kept, groupScore)
        .build();
  }

  @Test
  void takesTheBestByFallingKeyAndTiesByIndex() {
    RouterSpec router = router(Score.SOFTMAX);
    assertArrayEquals(
        new int[] {3, 1, 0}, ExpertChoice.choose(router, 3, new double[] {1, 2, 0, 5}, null));
    assertArrayEquals(
        new int[] {0, 1, 2}, ExpertChoice.choose(router, 3, new double[] {4, 4, 4, 4}, null));
    assertArrayEquals(
        new int[] {1, 3, 0}, ExpertChoice.choose(router, 3, new double[] {0, 7, 0, 7}, null));
  }

  @Test
  void saturatedScoresDoNotReorder() {
    // Both sigmoids are 1, even in float64.
    double[] logits = {50, 60, 70};
    assertEquals(1, ExpertChoice.scores(Score.SIGMOID, logits)[0]);
    assertArrayEquals(
        new int[] {2, 1}, ExpertChoice.choose(router(Score.SIGMOID), 2, logits, null));
  }

  @Test
  void notANumberAndMinusInfinityComeLastByIndex() {
    double[] logits = {NAN, NONE, -1e30, NAN};
    assertArrayEquals(
        new int[] {2, 0, 1, 3}, ExpertChoice.choose(router(Score.SIGMOID), 4, logits, null));
    assertArrayEquals(
        new int[] {0, 1},
        ExpertChoice.choose(router(Score.IDENTITY), 2, new double[] {NAN, NAN, NONE}, null));
  }

  @Test
  void correctionBiasChangesTheChoiceButNotTheWeights() {
    RouterSpec router =
        RouterSpec.builder()
            .score(Score.SIGMOID)
            .correctionBias(true)
            .normalize(Normalize.SUM)
            .scalingFactor(2)
            .build();
    double[] logits = {0, 1, 2};
    int[] ids = ExpertChoice.choose(router, 2, logits, new double[] {3, 0, 0});
    assertArrayEquals(new int[] {0, 2}, ids);
    double s0 = 0.5;
    double s2 = 1 / (1 + Math.exp(-2));
    double[] weights =
        ExpertChoice.weights(router, ExpertChoice.scores(Score.SIGMOID, logits), ids);
    assertEquals(2 * s0 / (s0 + s2), weights[0], 1e-15);
    assertEquals(2 * s2 / (s0 + s2), weights[1], 1e-15);
  }

  @Test
  void droppedGroupsStayDroppedWhenKeptKeysAreNegative() {
    // Group 0 wins by its two best; its keys are negative, and a mask of 0 would lose to group 1.
    double[] logits = {0, 0, 1, 1};
    double[] bias = {-1, -1, -9, -9};
    assertArrayEquals(
        new int[] {0, 1},
        ExpertChoice.choose(grouped(2, 1, GroupScore.TOP2_SUM, true), 2, logits, bias));
  }

  @Test
  void groupsByTheirTwoBestDifferFromGroupsByTheirBest() {
    double[] logits = {3, -9, 2, 2};
    assertArrayEquals(
        new int[] {0, 1},
        ExpertChoice.choose(grouped(2, 1, GroupScore.BEST, false), 2, logits, null));
    assertArrayEquals(
        new int[] {2, 3},
        ExpertChoice.choose(grouped(2, 1, GroupScore.TOP2_SUM, false), 2, logits, null));
  }

  @Test
  void groupsOfOneAreScoredByIt() {
    assertArrayEquals(
        new int[] {2, 0},
        ExpertChoice.choose(
            grouped(3, 2, GroupScore.TOP2_SUM, false), 2, new double[] {1, 0, 2}, null));
  }

  @Test
  void slotsBeyondTheKeptGroupsGoToTheLowestOfTheRest() {
    double[] logits = {0, 0, 5, 4, 9, 9};
    assertArrayEquals(
        new int[] {4, 5, 0},
        ExpertChoice.choose(grouped(3, 1, GroupScore.BEST, false), 3, logits, null));
  }

  @Test
  void aZeroDenominatorGivesZeroWeights() {
    RouterSpec router = RouterSpec.builder().score(Score.SIGMOID).normalize(Normalize.SUM).build();
    assertArrayEquals(
        new double[] {0, 0},
        ExpertChoice.weights(
            router,
            ExpertChoice.scores(Score.SIGMOID, new double[] {NONE, NONE}),
            new int[] {0, 1}));
  }

  @Test
  void softmaxOverTheChosenIsSoftmaxRenormalised() {
    double[] logits = {1, -2, 3, 0.5};
    int[] ids = {2, 0};
    RouterSpec after =
        RouterSpec.builder().score(Score.IDENTITY).normalize(Normalize.SOFTMAX).build();
    RouterSpec before = RouterSpec.builder().score(Score.SOFTMAX).normalize(Normalize.SUM).build();
    assertArrayEquals(
        ExpertChoice.weights(after, logits, ids),
        ExpertChoice.weights(before, ExpertChoice.scores(Score.SOFTMAX, logits), ids),
        1e-15);
  }

  @Test
  void gradientsOfLogitsAreFiniteDifferences() {
    double[] logits = {0.3, -1.1, 0.8, 2, -0.4};
    int[] ids = {3, 0, 2};
    double[] dweights = {0.7, -1.3, 0.4};
    for (Score score : Score.values()) {
      for (Normalize normalize : Normalize.values()) {
        RouterSpec router =
            RouterSpec.builder()
                .score(score)
                .normalize(normalize)
                .epsilon(0.125f)
                .scalingFactor(2.5f)
                .build();
        double[] gradient = ExpertChoice.dlogits(router, logits, ids, dweights);
        for (int e = 0; e < logits.length; e++) {
          double h = 1e-6;
          double difference =
              (loss(router, logits, e, h, ids, dweights)
                      - loss(router, logits, e, -h, ids, dweights))
                  / (2 * h);
          assertEquals(difference, gradient[e], 1e-8, score + " " + normalize + " expert " + e);
        }
      }
    }
  }

  private static double loss(
      RouterSpec router, double[] logits, int e, double h, int[] ids, double[] dweights) {
    double[] moved = logits.clone();
    moved[e] += h;
    double[] weights =
        ExpertChoice.weights(router, ExpertChoice.scores(router.score(), moved), ids);
    double sum = 0;
    for (int k = 0; k < ids.length; k++) {
      sum += weights[k] * dweights[k];
    }
    return sum;
  }

  @Test
  void skippedIdsHaveNoGradientAndDuplicatesHaveTwo() {
    RouterSpec router = router(Score.IDENTITY);
    assertArrayEquals(
        new double[] {0, 5, 0},
        ExpertChoice.dlogits(
            router, new double[] {1, 2, 3}, new int[] {1, -1, 1, 7}, new double[] {2, 9, 3, 9}));
  }
}
