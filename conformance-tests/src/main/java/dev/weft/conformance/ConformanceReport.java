package dev.weft.conformance;

import dev.weft.DeviceInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** The outcomes of a run. Not thread-safe. */
public final class ConformanceReport {
  private final DeviceInfo device;
  private final Class<?> providerClass;
  private final long salt;
  private final Set<Profile> profiles;
  private final Set<Profile> mandatory;
  private final Set<String> areas;
  private final Instant start = Instant.now().truncatedTo(ChronoUnit.SECONDS);
  private final List<CaseOutcome> outcomes = new ArrayList<>();

  ConformanceReport(
      DeviceInfo device,
      Class<?> providerClass,
      long salt,
      Set<Profile> profiles,
      Set<Profile> mandatory,
      Set<String> areas) {
    this.device = device;
    this.providerClass = providerClass;
    this.salt = salt;
    this.profiles = EnumSet.copyOf(profiles);
    this.mandatory = EnumSet.copyOf(mandatory);
    this.areas = Set.copyOf(areas);
  }

  /**
   * Adds an outcome.
   *
   * @param outcome of a case of the run
   */
  public void add(CaseOutcome outcome) {
    outcomes.add(outcome);
  }

  /**
   * Returns all outcomes.
   *
   * @return in the order in which cases ran
   */
  public List<CaseOutcome> outcomes() {
    return List.copyOf(outcomes);
  }

  /**
   * Counts outcomes.
   *
   * @param status how they ended
   * @return how many
   */
  public long count(CaseStatus status) {
    return outcomes.stream().filter(o -> o.status() == status).count();
  }

  /**
   * Counts the cases that were really run.
   *
   * @return passed, failed and waived ones
   */
  public long executed() {
    return count(CaseStatus.PASS) + count(CaseStatus.FAIL) + count(CaseStatus.WAIVED);
  }

  /**
   * Tells whether the provider passed: at least one case ran, and none failed.
   *
   * @return the verdict
   */
  public boolean passed() {
    return executed() > 0 && count(CaseStatus.FAIL) == 0;
  }

  /**
   * Tells whether nothing was left out: every case of the suite has an outcome, and those not run
   * are of profiles that the run did not have. Only a complete report certifies anything.
   *
   * @return false after a filter, or a run that ended early
   */
  public boolean complete() {
    Set<String> missing = new HashSet<>(Suite.caseIds());
    for (CaseOutcome outcome : outcomes) {
      if (outcome.status() != CaseStatus.NOT_RUN
          || !profiles.containsAll(outcome.testCase().profiles())) {
        missing.remove(outcome.testCase().id());
      }
    }
    return missing.isEmpty();
  }

  /**
   * Returns the device.
   *
   * @return what was tested
   */
  public DeviceInfo device() {
    return device;
  }

  /**
   * Returns the provider's class.
   *
   * @return its name
   */
  public String providerClass() {
    return providerClass.getName();
  }

  /** What the provider was loaded from. */
  Artifact artifact() {
    return Artifact.of(providerClass);
  }

  /**
   * Returns the salt.
   *
   * @return what seeds were salted with
   */
  public long salt() {
    return salt;
  }

  /**
   * Returns the profiles.
   *
   * @return those that the run had
   */
  public Set<Profile> profiles() {
    return EnumSet.copyOf(profiles);
  }

  /**
   * Returns what the provider had to support, of its {@link #operations()}.
   *
   * @return the mandatory profiles
   */
  public Set<Profile> mandatory() {
    return EnumSet.copyOf(mandatory);
  }

  /**
   * Returns the operations that the provider was held to.
   *
   * @return among {@code conv1d}, {@code moba} and {@code moe}, in that order
   */
  public List<String> operations() {
    return areas.stream().filter(area -> !area.equals("device")).sorted().toList();
  }

  /**
   * Returns when the run began.
   *
   * @return to the second
   */
  public Instant start() {
    return start;
  }

  /**
   * Says in one line how it went.
   *
   * @return such as {@code cpu:0: 412 passed, 0 failed, 3 unsupported, 0 waived, 12 not run}
   */
  public String summary() {
    return device.selector()
        + ": "
        + count(CaseStatus.PASS)
        + " passed, "
        + count(CaseStatus.FAIL)
        + " failed, "
        + count(CaseStatus.UNSUPPORTED)
        + " unsupported, "
        + count(CaseStatus.WAIVED)
        + " waived, "
        + count(CaseStatus.NOT_RUN)
        + " not run";
  }

  /**
   * Writes the report in four forms, each whole, by rename: {@code PROVIDER.json} for programs,
   * {@code PROVIDER.html} for people, {@code PROVIDER.junit.xml} for build servers, and the {@link
   * Certificate} {@code PROVIDER.md}. A device other than the provider's first adds its index to
   * the names.
   *
   * @param directory where to; made if absent
   * @return the page
   * @throws IOException if it cannot be written
   */
  public Path writeTo(Path directory) throws IOException {
    Files.createDirectories(directory);
    int index = device.descriptor().index();
    String name = device.providerId() + (index == 0 ? "" : "-" + index);
    String json = new ReportJson(this).text();
    WholeFile.write(directory.resolve(name + ".json"), json);
    WholeFile.write(directory.resolve(name + ".md"), Certificate.of(json));
    writeJunit(directory.resolve(name + ".junit.xml"));
    Path page = directory.resolve(name + ".html");
    WholeFile.write(page, new ReportPage(this).text());
    return page;
  }

  /**
   * Writes the report in the XML of JUnit's reports, which build servers read.
   *
   * @param file the file to write or replace, in a directory that exists
   * @throws IOException if it cannot be written
   */
  public void writeJunit(Path file) throws IOException {
    WholeFile.write(file, new ReportXml(this).text());
  }
}
