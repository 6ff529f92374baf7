package dev.weft.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import dev.weft.DeviceOptions;
import dev.weft.conformance.mutants.Mutants;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.testkit.engine.EngineExecutionResults;
import org.junit.platform.testkit.engine.EngineTestKit;
import org.junit.platform.testkit.engine.Event;

/** What a backend author sees in JUnit. */
class KernelProviderConformanceTest {
  private static EngineExecutionResults run(Class<?> suite) {
    return EngineTestKit.engine("junit-jupiter").selectors(selectClass(suite)).execute();
  }

  private static KernelProvider cpu() {
    return ReferenceBackend.provider("dev.weft.backend.cpu.CpuProvider"::equals);
  }

  private static List<String> failures(EngineExecutionResults results) {
    return results.allEvents().failed().stream()
        .map(event -> event.getRequiredPayload(TestExecutionResult.class))
        .map(result -> result.getThrowable().map(Throwable::getMessage).orElse(""))
        .toList();
  }

  private static List<String> names(EngineExecutionResults results) {
    return results.allEvents().started().stream()
        .map(Event::getTestDescriptor)
        .map(d -> d.getDisplayName())
        .toList();
  }

  private static final String LAUNCHES = "device.launches/f32/conv1d";

  private static long launches() {
    return Catalogues.all().stream().filter(c -> c.id().startsWith(LAUNCHES)).count();
  }

  /** The conv1d launches of a right provider. */
  static class Right extends KernelProviderConformance {
    @Override
    protected KernelProvider provider() {
      return cpu();
    }

    @Override
    protected String caseFilter() {
      return LAUNCHES;
    }

    @Override
    protected Path reportDirectory() {
      return Path.of("target/conformance-partial"); // not in the place of the whole suite's
    }
  }

  @Test
  void a_right_provider_gives_a_tree_of_operation_type_and_case() {
    EngineExecutionResults results = run(Right.class);
    assertEquals(List.of(), failures(results));
    assertEquals(launches() + 1, results.testEvents().succeeded().count()); // and "the suite ran"
    List<String> names = names(results);
    assertTrue(names.contains("device.launches"), names.toString());
    assertTrue(names.contains("f32"), names.toString());
    assertTrue(
        names.contains("device.launches/f32/conv1d/one-kernel-two-streams#random"),
        names.toString());
    assertEquals("the suite ran", names.getLast());
  }

  /** A provider with NaN in its outputs. */
  static class Wrong extends Right {
    @Override
    protected KernelProvider provider() {
      return new Mutants(cpu()).nan();
    }

    @Override
    protected Map<String, String> waivers() {
      return Map.of(
          "device.launches/f32/conv1d/weights-refreshed#random", "https://example.org/issues/7");
    }
  }

  @Test
  void a_wrong_provider_fails_case_by_case_and_a_waiver_is_a_skip_with_its_reason() {
    EngineExecutionResults results = run(Wrong.class);
    List<String> failures = failures(results);
    assertTrue(failures.size() >= 5, failures.toString());
    assertTrue(failures.getFirst().contains("got NaN"), failures.getFirst());
    assertTrue(failures.getFirst().contains("Replay: ./weft verify"), failures.getFirst());
    assertEquals(1, results.testEvents().aborted().count());
    assertTrue(
        results.testEvents().aborted().stream()
            .map(event -> event.getRequiredPayload(TestExecutionResult.class))
            .allMatch(result ->
                String.valueOf(result.getThrowable().orElseThrow().getMessage())
                    .contains("WAIVED: https://example.org/issues/7")));
  }

  /** A filter that finds nothing. */
  static class Nothing extends Right {
    @Override
    protected String caseFilter() {
      return "no case has this id";
    }
  }

  @Test
  void a_run_without_a_case_fails() {
    List<String> failures = failures(run(Nothing.class));
    assertEquals(1, failures.size());
    assertTrue(failures.getFirst().contains("no case was executed"), failures.getFirst());
  }

  /** A run that asks for profiles that the cases are not in. */
  static class OtherProfiles extends Right {
    @Override
    protected Set<Profile> profiles() {
      return EnumSet.of(Profile.BF16);
    }
  }

  @Test
  void cases_outside_the_profiles_are_skipped_and_do_not_count_as_run() {
    EngineExecutionResults results = run(OtherProfiles.class);
    assertEquals(launches(), results.testEvents().aborted().count());
    assertTrue(failures(results).getFirst().contains(launches() + " not run"));
  }

  /** A provider that has no kernels, and says so. */
  static class Empty extends Right {
    @Override
    protected KernelProvider provider() {
      return new Mutants(cpu()).supportsNothing();
    }
  }

  @Test
  void a_provider_that_supports_nothing_does_not_pass() {
    List<String> failures = failures(run(Empty.class));
    assertEquals(launches(), failures.size());
    assertTrue(failures.getFirst().contains("mandatory profile [CORE]"), failures.getFirst());
  }

  /** The same, when convolutions are not claimed. */
  static class EmptyAndHonest extends Empty {
    @Override
    protected String caseFilter() {
      return "conv1d.forward/f32/.*/ragged|device.transfer/f32";
    }

    @Override
    protected Set<String> operations() {
      return Set.of("moba");
    }
  }

  @Test
  void an_operation_that_is_not_claimed_may_be_unsupported() {
    EngineExecutionResults results = run(EmptyAndHonest.class);
    assertEquals(List.of(), failures(results));
    assertTrue(results.testEvents().aborted().count() > 10);
    assertTrue(results.testEvents().succeeded().count() > 5);
  }

  /** A provider whose device is not there. */
  static class Absent extends Right {
    @Override
    protected KernelProvider provider() {
      return new AbsentProvider();
    }
  }

  private static final class AbsentProvider implements KernelProvider {
    @Override
    public String id() {
      return "absent";
    }

    @Override
    public SpiVersion spiVersion() {
      return new SpiVersion(1, 0);
    }

    @Override
    public Probe probe() {
      return new Probe.Unavailable("there is no such device", "plug one in", null);
    }

    @Override
    public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
      throw new AssertionError("opened although unavailable");
    }
  }

  @Test
  void a_provider_without_a_device_fails_as_a_container() {
    EngineExecutionResults results = run(Absent.class);
    assertEquals(1, results.containerEvents().failed().count());
    assertTrue(failures(results).getFirst().contains("there is no such device"));
  }
}
