package dev.weft.conformance;

import dev.weft.DeviceInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/** The outcomes of a run. Not thread-safe. */
public final class ConformanceReport {
  private final DeviceInfo device;
  private final String providerClass;
  private final long salt;
  private final Set<Profile> profiles;
  private final Instant start = Instant.now().truncatedTo(ChronoUnit.SECONDS);
  private final List<CaseOutcome> outcomes = new ArrayList<>();

  ConformanceReport(DeviceInfo device, String providerClass, long salt, Set<Profile> profiles) {
    this.device = device;
    this.providerClass = providerClass;
    this.salt = salt;
    this.profiles = EnumSet.copyOf(profiles);
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
    return providerClass;
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
   * Writes the report as {@code PROVIDER.json} for programs and {@code PROVIDER.html} for people,
   * each whole, by rename. A device other than the provider's first adds its index to the names.
   *
   * @param directory where to; made if absent
   * @return the page
   * @throws IOException if it cannot be written
   */
  public Path writeTo(Path directory) throws IOException {
    Files.createDirectories(directory);
    int index = device.descriptor().index();
    String name = device.providerId() + (index == 0 ? "" : "-" + index);
    WholeFile.write(directory.resolve(name + ".json"), new ReportJson(this).text());
    Path page = directory.resolve(name + ".html");
    WholeFile.write(page, new ReportPage(this).text());
    return page;
  }
}
