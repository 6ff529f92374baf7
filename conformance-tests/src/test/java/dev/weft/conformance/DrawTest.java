package dev.weft.conformance;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.HostTensor;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Generators and the families drawn from them. */
class DrawTest {
  private static final Draw DRAW = Draw.of("case", 0).of("x");

  private static HostTensor fill(Values values, DataType type, long... shape) {
    HostTensor tensor = HostTensor.allocate(type, shape);
    values.fill(tensor, DRAW);
    return tensor;
  }

  @Test
  void numbers_depend_on_text_salt_name_and_index_only() {
    assertEquals(Draw.of("case", 0).of("x").bits(7), DRAW.bits(7));
    assertNotEquals(Draw.of("case", 1).of("x").bits(7), DRAW.bits(7));
    assertNotEquals(Draw.of("case2", 0).of("x").bits(7), DRAW.bits(7));
    assertNotEquals(Draw.of("case", 0).of("y").bits(7), DRAW.bits(7));
    assertNotEquals(DRAW.bits(8), DRAW.bits(7));
  }

  /** Ids are API, and so is what is drawn for them: a waiver or a report may name the values. */
  @Test
  void numbers_never_change_within_a_suite_version() {
    assertEquals(0.8212401075916759, Draw.of("conformance", 0).of("x").uniform(0), 0);
  }

  @Test
  void normal_numbers_have_mean_0_and_variance_1() {
    double sum = 0;
    double squares = 0;
    int n = 200_000;
    for (int i = 0; i < n; i++) {
      double z = DRAW.normal(i);
      sum += z;
      squares += z * z;
    }
    assertEquals(0, sum / n, 0.01);
    assertEquals(1, squares / n, 0.01);
  }

  @Test
  void permutations_hold_every_number_once() {
    int[] order = DRAW.permutation(100);
    int[] sorted = order.clone();
    Arrays.sort(sorted);
    int[] identity = new int[100];
    Arrays.setAll(identity, i -> i);
    assertArrayEquals(identity, sorted);
    assertTrue(!Arrays.equals(identity, order), "not shuffled");
  }

  @Test
  void dyadic_numbers_are_exact_in_every_type_and_so_are_their_sums() {
    double[] f32 = fill(Values.dyadic(), DataType.F32, 1000).toDoubles();
    assertArrayEquals(f32, fill(Values.dyadic(), DataType.BF16, 1000).toDoubles());
    assertArrayEquals(f32, fill(Values.dyadic(), DataType.F16, 1000).toDoubles());
    float up = 0;
    float down = 0;
    for (int i = 0; i < 1000; i++) {
      up += (float) (f32[i] * f32[999 - i]);
      down += (float) (f32[999 - i] * f32[i]);
    }
    assertEquals(up, down);
    Set<Double> distinct = new HashSet<>();
    for (double value : f32) {
      distinct.add(value);
    }
    assertEquals(9, distinct.size());
  }

  @Test
  void a_ramp_tells_neighbours_apart_in_rows_and_columns() {
    HostTensor ramp = fill(Values.ramp(), DataType.BF16, 40, 30);
    assertArrayEquals(
        ramp.toDoubles(), fill(Values.ramp(), DataType.F32, 40, 30).toDoubles(), "exact in bf16");
    for (int i = 1; i < 40; i++) {
      for (int j = 1; j < 30; j++) {
        double here = ramp.get(i * 30L + j);
        assertNotEquals(here, ramp.get(i * 30L + j - 1));
        assertNotEquals(here, ramp.get((i - 1) * 30L + j));
      }
    }
  }

  @Test
  void ties_make_whole_rows_equal() {
    HostTensor ties = fill(Values.ties(), DataType.F16, 50, 8);
    Set<Double> distinct = new HashSet<>();
    for (int i = 0; i < 50; i++) {
      for (int j = 1; j < 8; j++) {
        assertEquals(ties.get(i * 8L), ties.get(i * 8L + j));
      }
      distinct.add(ties.get(i * 8L));
    }
    assertEquals(Set.of(-0.5, 0.0, 0.5), distinct);
  }

  @Test
  void rows_are_replaced_and_values_scaled() {
    HostTensor rows = fill(Values.constant(3).rows(1, 3, Double.NaN).times(2), DataType.F32, 4, 2);
    assertEquals(6, rows.get(1));
    assertTrue(Double.isNaN(rows.get(2)) && Double.isNaN(rows.get(5)));
    assertEquals(6, rows.get(6));
  }
}
