package dev.weft.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.conformance.mutants.Mutant;
import dev.weft.conformance.mutants.Mutants;
import dev.weft.spi.KernelProvider;
import java.time.Duration;
import org.junit.jupiter.api.Test;

/**
 * The suite can fail: each wrong provider does, in the cases meant for it, with the right words.
 */
class MutantsTest {
  private final KernelProvider cpu =
      ReferenceBackend.provider("dev.weft.backend.cpu.CpuProvider"::equals);
  private final Mutants mutants = new Mutants(cpu);

  private static ConformanceReport run(KernelProvider provider, String filter) {
    try (ConformanceRun run =
        ConformanceRun.of(provider).filter(filter).caseLimit(Duration.ofSeconds(60)).open()) {
      return run.execute(outcome -> {});
    }
  }

  /** Every case that the filter finds fails, and says the words. */
  private static void fails(KernelProvider provider, String filter, String... words) {
    ConformanceReport report = run(provider, filter);
    assertTrue(report.executed() > 0, "no case for " + filter);
    assertFalse(report.passed());
    for (CaseOutcome outcome : report.outcomes()) {
      assertEquals(CaseStatus.FAIL, outcome.status(), outcome.testCase().id());
      for (String word : words) {
        assertTrue(outcome.message().contains(word), word + " is not in: " + outcome.message());
      }
      assertTrue(outcome.message().contains("Replay: ./weft verify --backend"), outcome.message());
      assertTrue(
          outcome.message().contains("-Dweft.conformance.case='" + outcome.testCase().id()),
          outcome.message());
    }
  }

  @Test
  void a_wrapper_that_changes_nothing_passes() {
    ConformanceReport report = run(mutants.none(), "device.launches");
    assertTrue(report.passed(), report.summary());
    assertTrue(report.executed() > 20, report.summary());
  }

  @Test
  void off_by_one_row() {
    fails(
        mutants.offByOneRow(),
        "launches/f32/.*/one-kernel-two-streams",
        "elements beyond the bound, worst at [");
  }

  @Test
  void garbage_in_the_last_column() {
    fails(
        mutants.garbageLastColumn(),
        "launches/f32/conv1d/ordered",
        "got 0.618",
        "all at index 23 of dimension 1");
    fails(
        mutants.garbageLastColumn(),
        "launches/f32/moba/ordered",
        "got 0.618",
        "index 3 of dimension 1, index 15 of dimension 2");
    fails(mutants.garbageLastColumn(), "launches/f32/moe/ordered", "got 0.618");
  }

  @Test
  void garbage_in_a_gradient() {
    fails(mutants.garbageLastColumn(), "conv1d.backward/f32/.*/ragged#random", "dx", "got 0.618");
    fails(mutants.garbageLastColumn(), "moba.backward/f32/.*/plain#ramp", "dq", "got 0.618");
    fails(mutants.garbageLastColumn(), "moe.backward/f32/.*#exact", "got 0.618");
  }

  @Test
  void unwritten_tail() {
    fails(
        mutants.unwrittenTail(),
        "launches/f32/.*/weights-refreshed",
        "3 of",
        "the element was never written");
  }

  @Test
  void nan_in_an_output() {
    fails(mutants.nan(), "launches/f32/.*/ordered", "1 of", "got NaN");
  }

  @Test
  void a_neighbour_sequence_is_read() {
    fails(mutants.readsNeighbourSequence(), "launches/f32/(conv1d|moba)/ordered", "");
  }

  @Test
  void a_neighbour_with_nan_is_read() {
    fails(mutants.readsNeighbourSequence(), "conv1d.forward/f32/.*/nan-in-neighbours", "got NaN");
    fails(mutants.readsNeighbourSequence(), "moba.forward/f32/.*/nan-neighbour", "");
  }

  @Test
  void states_that_stay_as_they_were() {
    fails(
        mutants.stateNotUpdated(),
        "conv1d.update/f32/.*/one-token#(exact|random)",
        "states",
        "worst at [");
  }

  @Test
  void ties_go_to_the_wrong_side() {
    fails(
        mutants.choosesNext(), "moba.forward/f32/.*/(all-equal|selection-many-ties)", "selection");
  }

  @Test
  void padding_rows_are_written() {
    fails(mutants.writesPadding(), "launches/f32/.*/ordered", "expected no write (padding)");
  }

  @Test
  void something_is_written_out_of_bounds() {
    fails(
        mutants.writesBehind(),
        "launches/f32/.*/ordered",
        "wrote outside of",
        "1 elements from it, in a guard band or between rows");
    fails(mutants.writesBehind(), "(conv1d|moba).forward/f32/.*/(packed|pitched|misaligned)", "");
  }

  @Test
  void an_input_is_modified() {
    fails(mutants.writesInput(), "launches/f32/.*/weights-refreshed", "was modified at [0, 0");
  }

  @Test
  void products_of_bf16_in_f32() {
    fails(
        mutants.bf16Inputs(),
        "launches/f32/(conv1d|moe)/(ordered|weights)",
        "elements beyond the bound");
  }

  @Test
  void other_bits_at_every_other_launch() {
    fails(mutants.notRepeatable(), "launches/f32/.*/repeats-under-load", "under load: byte");
    fails(
        mutants.notRepeatable(),
        "conv1d.forward/f32/.*/ragged#random",
        "not repeatable: a second launch on another stream left other bits, first in out[");
  }

  @Test
  void launches_that_come_late() {
    fails(mutants.late(), "launches/f32/conv1d/ordered", "never written");
  }

  @Test
  void a_provider_without_kernels() {
    fails(
        mutants.supportsNothing(),
        "device.launches",
        "as a part of the mandatory profile [CORE], but says no: there are no kernels yet");
  }

  @Test
  void a_yes_that_prepare_does_not_keep() {
    fails(
        mutants.supportsLies(),
        "device.launches",
        "supports said yes to",
        "but then it was refused",
        "only width 4");
    fails(mutants.supportsLies(), "unknown-operation", "yes to an operation nobody knows");
  }

  @Test
  void supports_that_throws() {
    fails(mutants.supportsThrows(), "device.launches", "supports did not answer", "no such kernel");
  }

  @Test
  void supports_that_wavers() {
    fails(mutants.supportsWavers(), "device.launches/f32/moba", "gave two answers");
  }

  @Test
  void running_out_of_memory_with_the_wrong_error() {
    fails(
        mutants.wrongOutOfMemory(),
        "device.memory/f32/exhausted",
        "expected DeviceOutOfMemoryException, but got");
  }

  @Test
  void a_copy_that_loses_a_byte() {
    fails(mutants.losesLastByte(), "transfer/u8/every-bit-pattern", "upload and download: byte");
  }

  @Test
  void streams_that_do_not_wait_for_events() {
    fails(mutants.ignoresEvents(), "events-order-streams", "between two streams: byte");
  }

  @Test
  void replays_that_do_nothing() {
    fails(mutants.emptyReplays(), "graphs/f32/records", "a replay did not do what was recorded");
  }

  @Test
  void captures_that_do_not_only_record() {
    fails(mutants.capturesEagerly(), "graphs/f32/records", "a capture did what it should only");
  }

  @Test
  void a_waived_failure_is_waived_and_no_other() {
    Mutant mutant = mutants.nan();
    String id = "device.launches/f32/conv1d/ordered-with-transfers#random";
    try (ConformanceRun run =
        ConformanceRun.of(mutant)
            .filter("launches/f32/(conv1d|moe)/ordered")
            .waivers(java.util.Map.of(id, "https://example.org/issues/1"))
            .open()) {
      ConformanceReport report = run.execute(outcome -> {});
      assertEquals(1, report.count(CaseStatus.WAIVED));
      assertEquals(1, report.count(CaseStatus.FAIL));
      assertTrue(report.outcomes().getFirst().message().startsWith("https://example.org/issues/1"));
    }
  }
}
