package dev.weft.conformance;

import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.UnsupportedSpecException;
import dev.weft.Weft;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Oracle;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;

/**
 * One run of the suite on one device of one provider. Used by one thread; close it.
 *
 * <pre>{@code
 * try (ConformanceRun run = ConformanceRun.of(provider).device("0").open()) {
 *   ConformanceReport report = run.execute(outcome -> progress.step());
 *   report.writeTo(directory);
 *   return report.passed();
 * }
 * }</pre>
 */
public final class ConformanceRun implements AutoCloseable {
  /** Enters every seed and report. Changes when drawn inputs or ids change. */
  public static final String SUITE_VERSION = "1";

  private final KernelProvider provider;
  private final Device device;
  private final Device reference;
  private final Oracle oracle;
  private final List<ConformanceCase> cases;
  private final Set<Profile> profiles;
  private final Set<Profile> mandatory;
  private final Set<String> areas;
  private final Map<String, String> waivers;
  private final long salt;
  private final Duration caseLimit;
  private @Nullable String ended;

  private ConformanceRun(Builder b, Device device, Device reference) {
    this.provider = b.provider;
    this.device = device;
    this.reference = reference;
    this.oracle =
        reference
            .extension(Oracle.class)
            .orElseThrow(() -> new IllegalStateException("the reference device has no oracle"));
    this.cases = b.cases.stream().filter(c -> b.filter.test(c.id())).toList();
    this.profiles = b.profiles;
    this.mandatory = b.mandatory;
    this.areas = b.areas;
    this.waivers = b.waivers;
    this.salt = b.salt;
    this.caseLimit = b.caseLimit;
  }

  /**
   * Starts a run.
   *
   * @param provider whose device is tested
   * @return a builder with the defaults
   */
  public static Builder of(KernelProvider provider) {
    return new Builder(provider);
  }

  /**
   * Returns the selected cases.
   *
   * @return those that the filter lets through, in the order of reports
   */
  public List<ConformanceCase> cases() {
    return cases;
  }

  /**
   * Returns the device under test.
   *
   * @return the open device
   */
  public Device device() {
    return device;
  }

  /**
   * Runs all selected cases.
   *
   * @param listener told of every case that ended, on the calling thread
   * @return the report
   */
  public ConformanceReport execute(Consumer<CaseOutcome> listener) {
    ConformanceReport report = report();
    for (ConformanceCase c : cases) {
      CaseOutcome outcome = execute(c);
      report.add(outcome);
      listener.accept(outcome);
    }
    return report;
  }

  /**
   * Tells whether the run has ended before its time, because a case did not end. Whatever is
   * executed from then on is not run.
   *
   * @return false as long as cases are run
   */
  public boolean hasEnded() {
    return ended != null;
  }

  /**
   * Starts an empty report of this run, for callers that run case by case.
   *
   * @return the report
   */
  public ConformanceReport report() {
    return new ConformanceReport(
        device.info(), provider.getClass(), salt, profiles, mandatory, areas);
  }

  /**
   * Runs a case.
   *
   * @param c one of the cases
   * @return how it ended
   */
  public CaseOutcome execute(ConformanceCase c) {
    long start = System.nanoTime();
    if (ended != null) {
      return new CaseOutcome(c, CaseStatus.NOT_RUN, ended, 0, 0, null);
    }
    for (Profile profile : c.profiles()) {
      if (!profiles.contains(profile)) {
        String reason = "profile " + profile + " is not part of this run";
        return new CaseOutcome(c, CaseStatus.NOT_RUN, reason, 0, 0, null);
      }
    }
    CaseOutcome outcome = attempt(c, start);
    String waiver = waivers.get(c.id());
    if (waiver != null && outcome.status() == CaseStatus.PASS) {
      return new CaseOutcome(
          c,
          CaseStatus.PASS,
          "passed, so its waiver can go: " + waiver,
          outcome.worst(),
          outcome.nanos(),
          null);
    }
    if (waiver != null && outcome.status() == CaseStatus.FAIL) {
      return new CaseOutcome(
          c,
          CaseStatus.WAIVED,
          waiver + " (" + outcome.message() + ")",
          outcome.worst(),
          outcome.nanos(),
          outcome.failure());
    }
    return outcome;
  }

  private CaseOutcome attempt(ConformanceCase c, long start) {
    FutureTask<CaseOutcome> task = new FutureTask<>(() -> supportedAndRun(c, start));
    // A thread of its own: backends may not count on seeing the same one twice.
    Thread thread = Thread.ofPlatform().name("conformance " + c.id()).daemon().start(task);
    try {
      return task.get(caseLimit.toMillis(), TimeUnit.MILLISECONDS);
    } catch (TimeoutException e) {
      StringBuilder where = new StringBuilder();
      for (StackTraceElement frame : thread.getStackTrace()) {
        where.append("\n    at ").append(frame);
      }
      ended = "the run ended when " + c.id() + " did not";
      return failed(
          c, start, 0, "did not end within " + caseLimit.toSeconds() + " s; it is" + where, e);
    } catch (ExecutionException e) {
      Throwable cause = e.getCause() == null ? e : e.getCause();
      return failed(c, start, 0, describe(cause), cause);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      ended = "the run was interrupted";
      return new CaseOutcome(c, CaseStatus.NOT_RUN, "interrupted", 0, 0, e);
    }
  }

  private CaseOutcome supportedAndRun(ConformanceCase c, long start) {
    try {
      for (OperationSpec<?> spec : c.specs()) {
        Support support = device.supports(spec);
        if (support.isSupported() != device.supports(spec).isSupported()) {
          return failed(c, start, 0, "supports(" + spec + ") gave two answers", null);
        }
        if (!support.isSupported()) {
          return unsupported(c, spec, support.reason(), start);
        }
      }
    } catch (Throwable t) {
      return failed(c, start, 0, "supports did not answer: " + describe(t), t);
    }
    Set<String> openBefore = new LinkedHashSet<>(device.openObjects());
    CaseContext context;
    try {
      context =
          new CaseContext(
              c, provider, device, reference, oracle, salt, profiles.contains(Profile.GRAPHS));
    } catch (Throwable t) {
      return failed(c, start, 0, describe(t), t);
    }
    Throwable failure = null;
    try {
      c.body().run(context);
      if (context.checks() == 0) {
        failure = new IllegalStateException("the case checked nothing");
      }
    } catch (UnsupportedSpecException e) {
      failure =
          new ConformanceFailure(
              "supports said yes to " + c.specs() + ", but then it was refused: " + e.getMessage(),
              e);
    } catch (Throwable t) {
      failure = t;
    }
    try {
      Set<String> left = context.close(openBefore);
      if (failure == null && !left.isEmpty()) {
        failure = new ConformanceFailure("still open after the case: " + left);
      }
    } catch (Throwable t) {
      if (failure == null) {
        failure = t;
      } else {
        failure.addSuppressed(t);
      }
    }
    if (failure != null) {
      return failed(c, start, context.worst(), describe(failure), failure);
    }
    return new CaseOutcome(
        c, CaseStatus.PASS, "", context.worst(), System.nanoTime() - start, null);
  }

  /** A no is fine, if prepare says the same and the case is nobody's duty. */
  private CaseOutcome unsupported(
      ConformanceCase c, OperationSpec<?> spec, String reason, long start) {
    try {
      device.prepare(spec).close();
      return failed(
          c, start, 0, "supports says no (" + reason + "), but prepare works: " + spec, null);
    } catch (UnsupportedSpecException e) {
      if (!String.valueOf(e.getMessage()).contains(reason)) {
        return failed(
            c, start, 0, "supports says '" + reason + "', prepare '" + e.getMessage() + "'", e);
      }
    } catch (Throwable t) {
      return failed(
          c,
          start,
          0,
          "supports says no ("
              + reason
              + "); prepare should throw UnsupportedSpecException, but threw "
              + describe(t),
          t);
    }
    // A case of the device contract is worked through with some operation, which has to be a duty
    // too.
    String operation = spec.operation();
    int dot = operation.indexOf('.');
    String area = dot < 0 ? operation : operation.substring(0, dot);
    if (mandatory.containsAll(c.profiles()) && areas.contains(c.area()) && areas.contains(area)) {
      return failed(
          c,
          start,
          0,
          "the provider has to support this, as a part of the mandatory profile "
              + c.profiles()
              + ", but says no: "
              + reason,
          null);
    }
    return new CaseOutcome(c, CaseStatus.UNSUPPORTED, reason, 0, System.nanoTime() - start, null);
  }

  private CaseOutcome failed(
      ConformanceCase c, long start, double worst, String what, @Nullable Throwable failure) {
    String selector = device.info().selector();
    String message =
        c.id()
            + " failed on "
            + selector
            + " ("
            + device.info().descriptor().name()
            + "): "
            + what
            + "\nReplay: ./weft verify --backend "
            + selector
            + " --case '"
            + c.id()
            + "'"
            + (salt == 0 ? "" : " --salt " + salt)
            + "  or, in a test, -Dweft.conformance.case='"
            + c.id()
            + "' -Dweft.conformance.salt="
            + salt;
    return new CaseOutcome(c, CaseStatus.FAIL, message, worst, System.nanoTime() - start, failure);
  }

  private static String describe(Throwable t) {
    return t instanceof ConformanceFailure ? String.valueOf(t.getMessage()) : t.toString();
  }

  /** Closes both devices. */
  @Override
  public void close() {
    try {
      device.close();
    } finally {
      reference.close();
    }
  }

  /** Builds a {@link ConformanceRun}. */
  public static final class Builder {
    private final KernelProvider provider;
    private String selector = "";
    private DeviceOptions options = DeviceOptions.defaults();
    private Set<Profile> profiles = EnumSet.complementOf(EnumSet.of(Profile.LARGE));
    private Set<Profile> mandatory = EnumSet.of(Profile.CORE);
    private Set<String> areas = Set.of("device", "conv1d", "moba", "moe");
    private Map<String, String> waivers = Map.of();
    private Predicate<String> filter = id -> true;
    private List<ConformanceCase> cases = List.of();
    private List<ConformanceCase> more = List.of();
    private boolean ownCases;
    private long salt;
    private Duration caseLimit = Duration.ofMinutes(5);

    private Builder(KernelProvider provider) {
      this.provider = provider;
    }

    /**
     * Chooses the device.
     *
     * @param selector its index or a part of its name; empty for the first
     * @return this
     */
    public Builder device(String selector) {
      this.selector = selector;
      return this;
    }

    /**
     * Sets how the device is opened.
     *
     * @param options without validation, so that the suite can try bad values
     * @return this
     */
    public Builder options(DeviceOptions options) {
      this.options = options;
      return this;
    }

    /**
     * Chooses what is run: cases all of whose profiles are among these.
     *
     * @param profiles by default all but {@link Profile#LARGE}
     * @return this
     */
    public Builder profiles(Set<Profile> profiles) {
      this.profiles = EnumSet.copyOf(profiles);
      return this;
    }

    /**
     * Chooses what must be supported: cases all of whose profiles are among these.
     *
     * @param mandatory by default {@link Profile#CORE}
     * @param areas the operations that this is asked of: {@code moba}, {@code moe}, {@code conv1d}
     * @return this
     */
    public Builder mandatory(Set<Profile> mandatory, Set<String> areas) {
      this.mandatory = EnumSet.copyOf(mandatory);
      this.areas = Set.copyOf(areas);
      return this;
    }

    /**
     * Names known failures. {@link #open} refuses an id that no case has.
     *
     * @param waivers case ids to the reason or the address of the report
     * @return this
     */
    public Builder waivers(Map<String, String> waivers) {
      this.waivers = new LinkedHashMap<>(waivers);
      return this;
    }

    /**
     * Chooses cases by id.
     *
     * @param pattern a part of the id, or a regular expression that finds one; empty for all
     * @return this
     */
    public Builder filter(String pattern) {
      this.filter = matcher(pattern);
      return this;
    }

    /**
     * Changes all that is drawn.
     *
     * @param salt 0 by default
     * @return this
     */
    public Builder salt(long salt) {
      this.salt = salt;
      return this;
    }

    /**
     * Limits a case's time; a case that takes longer fails and ends the run.
     *
     * @param limit five minutes by default
     * @return this
     */
    public Builder caseLimit(Duration limit) {
      this.caseLimit = limit;
      return this;
    }

    /**
     * Runs other cases than the suite's, such as those of an operation of one's own.
     *
     * @param catalogues their catalogues
     * @return this
     */
    public Builder catalogues(List<CaseCatalogue> catalogues) {
      this.cases = Catalogues.casesOf(catalogues);
      this.ownCases = true;
      return this;
    }

    /**
     * Runs more cases beside the suite's.
     *
     * @param catalogues their catalogues
     * @return this
     */
    public Builder alsoCatalogues(List<CaseCatalogue> catalogues) {
      this.more = Catalogues.casesOf(catalogues);
      return this;
    }

    /**
     * Opens the devices.
     *
     * @return the run
     * @throws dev.weft.BackendUnavailableException if the device cannot be opened
     * @throws IllegalArgumentException if a waiver names no case
     */
    public ConformanceRun open() {
      List<ConformanceCase> all = new ArrayList<>(ownCases ? cases : Catalogues.all());
      all.addAll(more);
      cases = all;
      requireCases(waivers.keySet());
      Device reference = ReferenceBackend.open();
      try {
        Device device = Weft.open(provider, selector, options);
        try {
          return new ConformanceRun(this, device, reference);
        } catch (Throwable t) {
          device.close();
          throw t;
        }
      } catch (Throwable t) {
        reference.close();
        throw t;
      }
    }

    private void requireCases(Set<String> ids) {
      Set<String> unknown = new LinkedHashSet<>(ids);
      cases.forEach(c -> unknown.remove(c.id()));
      if (!unknown.isEmpty()) {
        throw new IllegalArgumentException("waivers: no case has the id " + unknown);
      }
    }

    private static Predicate<String> matcher(String pattern) {
      if (pattern.isEmpty()) {
        return id -> true;
      }
      List<Predicate<String>> either = new ArrayList<>();
      either.add(id -> id.contains(pattern));
      try {
        either.add(Pattern.compile(pattern).asPredicate());
      } catch (PatternSyntaxException e) {
        // then it can only be a part of an id
      }
      return id -> either.stream().anyMatch(p -> p.test(id));
    }
  }
}
