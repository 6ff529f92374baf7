package dev.weft.conformance;

import static org.junit.jupiter.api.DynamicContainer.dynamicContainer;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import dev.weft.DeviceOptions;
import dev.weft.spi.KernelProvider;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.DynamicNode;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

/**
 * The conformance suite as a JUnit 5 test. A backend author extends it:
 *
 * <pre>{@code
 * class AcmeConformanceTest extends KernelProviderConformance {
 *   @Override
 *   protected KernelProvider provider() {
 *     return new AcmeProvider();
 *   }
 * }
 * }</pre>
 *
 * <p>The tree is operation, data type, case. A case that the provider says no to, with a reason, is
 * skipped; so is one outside the run's profiles, and a waived one. Anything else that is not right
 * fails, and so does a run without a case, or one whose mandatory cases are unsupported.
 *
 * <p>System properties: {@code weft.conformance.case} selects cases by a part of their id, or by a
 * regular expression; {@code weft.conformance.salt} changes all that is drawn; {@code
 * weft.conformance.report} names the folder of the report (else {@code target/conformance}).
 */
public abstract class KernelProviderConformance {
  /** For subclasses. */
  protected KernelProviderConformance() {}

  /**
   * Returns the provider under test.
   *
   * @return a new instance
   */
  protected abstract KernelProvider provider();

  /**
   * Chooses the device.
   *
   * @return its index or a part of its name; empty for the first
   */
  protected String deviceSelector() {
    return "";
  }

  /**
   * Returns how the device is opened.
   *
   * @return the options
   */
  protected DeviceOptions options() {
    return DeviceOptions.defaults();
  }

  /**
   * Returns what is run.
   *
   * @return the profiles; cases that need another are not run
   */
  protected Set<Profile> profiles() {
    return EnumSet.complementOf(EnumSet.of(Profile.LARGE));
  }

  /**
   * Returns what the provider has to support.
   *
   * @return the mandatory profiles, at least {@link Profile#CORE}
   */
  protected Set<Profile> mandatory() {
    return EnumSet.of(Profile.CORE);
  }

  /**
   * Returns the operations that the provider has at all. Others are run where it supports them, but
   * are nobody's duty.
   *
   * @return among {@code moba}, {@code moe} and {@code conv1d}
   */
  protected Set<String> operations() {
    return Set.of("moba", "moe", "conv1d");
  }

  /**
   * Returns known failures.
   *
   * @return case ids, each with the reason or the address of the report
   */
  protected Map<String, String> waivers() {
    return Map.of();
  }

  /**
   * Chooses cases by id.
   *
   * @return a part of the id, or a regular expression that finds one; empty for all. By default
   *     what {@code weft.conformance.case} says
   */
  protected String caseFilter() {
    return System.getProperty("weft.conformance.case", "");
  }

  /**
   * Chooses where the report goes.
   *
   * @return a folder, made if absent. By default what {@code weft.conformance.report} says, else
   *     {@code target/conformance}
   */
  protected Path reportDirectory() {
    return Path.of(System.getProperty("weft.conformance.report", "target/conformance"));
  }

  /**
   * Returns what is run beside the suite's own cases.
   *
   * @return catalogues of operations of the provider's own
   */
  protected List<CaseCatalogue> catalogues() {
    return List.of();
  }

  /**
   * The suite.
   *
   * @return the tree of cases
   */
  @TestFactory
  @Execution(ExecutionMode.SAME_THREAD)
  Stream<DynamicNode> conformance() {
    Set<String> areas = new java.util.HashSet<>(operations());
    areas.add("device");
    ConformanceRun run =
        ConformanceRun.of(provider())
            .device(deviceSelector())
            .options(options())
            .profiles(profiles())
            .mandatory(mandatory(), areas)
            .waivers(waivers())
            .alsoCatalogues(catalogues())
            .filter(caseFilter())
            .salt(Long.getLong("weft.conformance.salt", 0))
            .open();
    ConformanceReport report = run.report();
    List<DynamicNode> nodes = new ArrayList<>();
    tree(run, report).forEach(nodes::add);
    nodes.add(dynamicTest("the suite ran", () -> conclude(report)));
    return nodes.stream()
        .onClose(() -> {
          try (run) {
            write(report);
          }
        });
  }

  private static List<DynamicNode> tree(ConformanceRun run, ConformanceReport report) {
    Map<String, Map<String, List<DynamicNode>>> operations = new LinkedHashMap<>();
    for (ConformanceCase c : run.cases()) {
      operations
          .computeIfAbsent(c.operation(), o -> new LinkedHashMap<>())
          .computeIfAbsent(c.dataType().text(), t -> new ArrayList<>())
          .add(dynamicTest(c.id(), () -> tell(run.execute(c), report)));
    }
    List<DynamicNode> nodes = new ArrayList<>();
    operations.forEach((operation, types) -> {
      List<DynamicNode> inner = new ArrayList<>();
      types.forEach((type, cases) -> inner.add(dynamicContainer(type, cases)));
      nodes.add(dynamicContainer(operation, inner));
    });
    return nodes;
  }

  private static void tell(CaseOutcome outcome, ConformanceReport report) {
    report.add(outcome);
    switch (outcome.status()) {
      case PASS -> {}
      case FAIL ->
          throw outcome.failure() == null
              ? new ConformanceFailure(outcome.message())
              : new ConformanceFailure(outcome.message(), outcome.failure());
      case UNSUPPORTED, WAIVED, NOT_RUN ->
          Assumptions.abort(outcome.status() + ": " + outcome.message());
    }
  }

  private void write(ConformanceReport report) {
    try {
      report.writeTo(reportDirectory());
    } catch (IOException e) {
      throw new UncheckedIOException("the conformance report cannot be written", e);
    }
  }

  private static void conclude(ConformanceReport report) {
    if (report.executed() == 0) {
      throw new ConformanceFailure(
          "no case was executed: "
              + report.count(CaseStatus.UNSUPPORTED)
              + " unsupported, "
              + report.count(CaseStatus.NOT_RUN)
              + " not run; is the filter right, and does the provider support anything?");
    }
  }
}
