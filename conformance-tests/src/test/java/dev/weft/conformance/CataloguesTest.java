package dev.weft.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** What holds for the list of cases itself. */
class CataloguesTest {
  private final List<ConformanceCase> cases = Catalogues.all();

  @Test
  void every_operation_has_cases() {
    Set<String> areas = cases.stream().map(ConformanceCase::area).collect(Collectors.toSet());
    assertEquals(Set.of("device", "conv1d", "moba", "moe"), areas);
  }

  @Test
  void ids_are_readable_and_the_same_every_time() {
    for (ConformanceCase c : cases) {
      assertTrue(c.id().matches("[a-z0-9.]+/[a-z0-9]+(/[^/#\\s']*)?/[a-z0-9.-]+#[a-z]+"), c.id());
    }
    assertEquals(
        cases.stream().map(ConformanceCase::id).toList(),
        Catalogues.all().stream().map(ConformanceCase::id).toList());
  }

  @Test
  void the_core_is_small() {
    long core = cases.stream().filter(c -> c.profiles().equals(Set.of(Profile.CORE))).count();
    assertTrue(core > 100 && core <= 600, "CORE has " + core + " cases");
    long flops =
        cases.stream()
            .filter(c -> !c.profiles().contains(Profile.LARGE))
            .mapToLong(ConformanceCase::flops)
            .sum();
    assertTrue(flops <= 20_000_000_000L, "all but LARGE: " + flops + " operations of the oracle");
  }

  @Test
  void an_id_that_occurs_twice_is_refused() {
    CaseCatalogue twice =
        () ->
            java.util.stream.Stream.of(
                ConformanceCase.of("a.b", DataType.F32, "", "x", Family.EXACT).runs(c -> {}),
                ConformanceCase.of("a.b", DataType.F32, "", "x", Family.EXACT).runs(c -> {}));
    assertThrows(IllegalStateException.class, () -> Catalogues.casesOf(List.of(twice)));
  }
}
