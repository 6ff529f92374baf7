package dev.weft.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.spi.Expected;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

/** The tolerance law as the suite applies it. */
class ComparisonTest {
  private static final double NAN = Double.NaN;
  private static final double INF = Double.POSITIVE_INFINITY;

  private static HostTensor f32(float... values) {
    return HostTensor.ofFloats(DataType.F32, values, values.length);
  }

  private static HostTensor poisoned(DataType type, long... shape) {
    HostTensor tensor = HostTensor.allocate(type, shape);
    Bits.fill(tensor, Bits.poison(type));
    return tensor;
  }

  private static double[] all(int n, double value) {
    double[] values = new double[n];
    Arrays.fill(values, value);
    return values;
  }

  private static Expected expected(double[] value, double[] error) {
    return new Expected(value, error, new double[0]);
  }

  private static Comparison compare(HostTensor got, Expected expected) {
    return Comparison.of("out", got, poisoned(got.dataType(), got.shape()), expected, false, false);
  }

  private static void fails(Comparison comparison, String... fragments) {
    String message = comparison.fault().orElseThrow(() -> new AssertionError("it passed"));
    for (String fragment : fragments) {
      assertTrue(message.contains(fragment), message);
    }
  }

  private static void passes(Comparison comparison) {
    assertTrue(comparison.fault().isEmpty(), comparison.fault().orElse(""));
  }

  @Test
  void error_up_to_the_bound_passes_and_beyond_it_fails() {
    Expected e = expected(new double[] {1, 2}, new double[] {0.25, 0.5});
    Comparison at = compare(f32(1.25f, 1.5f), e);
    passes(at);
    assertEquals(1.0, at.worst());
    fails(
        compare(f32(1.25f, 1.25f), e),
        "out: 1 of 2 elements beyond the bound",
        "worst at [1]: got 1.25, expected 2.00000, allowed +-0.500000");
  }

  @Test
  void the_worst_element_is_named_and_what_all_have_in_common() {
    HostTensor got = HostTensor.allocate(DataType.F32, 3, 4);
    for (int row = 0; row < 3; row++) {
      got.set(row * 4L + 2, row + 1.0);
    }
    fails(
        compare(got, expected(all(12, 0), all(12, 0.125))),
        "3 of 12",
        "worst at [2, 2]: got 3.0",
        "all at index 2 of dimension 1");
  }

  @Test
  void nan_is_no_number_within_a_bound() {
    fails(compare(f32(Float.NaN), expected(all(1, 0), all(1, 1))), "got NaN");
    fails(compare(f32(Float.NaN), expected(all(1, 0), all(1, INF))), "any number but NaN");
    fails(compare(f32(0), expected(all(1, NAN), all(1, 1))), "expected NaN");
    passes(compare(f32(Float.NaN), expected(all(1, NAN), all(1, 1))));
  }

  @Test
  void an_infinite_bound_takes_any_number() {
    passes(compare(f32(12345, Float.NEGATIVE_INFINITY), expected(all(2, 0), all(2, INF))));
  }

  @Test
  void padding_must_stay_untouched() {
    HostTensor got = poisoned(DataType.BF16, 2, 2);
    got.set(0, 1);
    got.set(1, 1);
    Expected e = expected(all(4, 1), new double[] {0.1, 0.1, NAN, NAN});
    passes(compare(got, e));
    got.set(3, 0);
    fails(compare(got, e), "[1, 1]", "no write (padding)");
  }

  @Test
  void unwritten_elements_are_told_from_nan() {
    HostTensor got = poisoned(DataType.F16, 3);
    got.set(0, 1);
    got.set(1, Double.NaN);
    fails(compare(got, expected(all(3, 1), all(3, 1))), "2 of 3", "never written");
    // Even where NaN is right, somebody has to write it.
    fails(compare(poisoned(DataType.F32, 1), expected(all(1, NAN), all(1, 1))), "never written");
  }

  @Test
  void a_bound_of_zero_means_the_rounded_value() {
    HostTensor got = HostTensor.allocate(DataType.BF16, 1);
    got.set(0, 1.00390625); // a tie, to even: 1.0
    passes(compare(got, expected(new double[] {1.00390625}, all(1, 0))));
    got.set(0, 1.0078125);
    fails(compare(got, expected(new double[] {1.00390625}, all(1, 0))), "1.0 exactly");
    passes(compare(f32(-0.0f), expected(all(1, 0), all(1, 0))));
  }

  @Test
  void exactness_ignores_what_the_oracle_would_allow() {
    Expected e = expected(all(1, 1), all(1, 0.5));
    HostTensor got = f32(1.25f);
    passes(compare(got, e));
    fails(Comparison.of("out", got, poisoned(DataType.F32, 1), e, true, false), "1.0 exactly");
  }

  @Test
  void integers_are_exact() {
    HostTensor got = HostTensor.ofInts(new int[] {4}, 1);
    fails(compare(got, expected(all(1, 5), all(1, 100))), "got 4.0, expected 5.0 exactly");
  }

  @Test
  void infinities_agree_only_where_the_bound_reaches_them() {
    HostTensor got = HostTensor.allocate(DataType.F16, 1);
    got.set(0, INF);
    passes(compare(got, expected(all(1, 65500), all(1, 64))));
    fails(compare(got, expected(all(1, 65000), all(1, 64))), "got Infinity");
    fails(compare(got, expected(all(1, -65500), all(1, 64))), "got Infinity");
    fails(compare(f32(1), expected(all(1, INF), all(1, 1))), "expected Infinity");
    passes(compare(f32(Float.POSITIVE_INFINITY), expected(all(1, INF), all(1, 1))));
  }

  @Test
  void the_norm_law_finds_errors_that_each_element_may_have_but_not_all() {
    int n = 1000;
    HostTensor got = HostTensor.allocate(DataType.F32, n);
    for (int i = 0; i < n; i++) {
      got.set(i, 0.5);
    }
    Expected e = new Expected(all(n, 0), all(n, 1), all(n, 0.1));
    HostTensor before = poisoned(DataType.F32, n);
    passes(Comparison.of("out", got, before, e, false, false));
    Comparison random = Comparison.of("out", got, before, e, false, true);
    fails(random, "normwise error", "5.00000 times the allowed");
    assertEquals(5, random.worst(), 1e-6); // 0.5 over 0.1
  }

  @Test
  void bits_are_compared_with_payloads_and_signs() {
    HostTensor a = f32(0.0f);
    HostTensor b = f32(-0.0f);
    fails(Comparison.bits("states", a, b), "0x80000000");
    passes(Comparison.bits("states", a, f32(0.0f)));
    HostTensor nan = poisoned(DataType.F32, 1);
    fails(Comparison.bits("states", f32(Float.NaN), nan), "0x7fc00000");
  }
}
