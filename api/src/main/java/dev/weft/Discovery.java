package dev.weft;

import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.security.CodeSource;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** Finds providers, each step guarded by itself: one broken provider hides no other. */
final class Discovery {
  private static final Pattern ID = Pattern.compile("[a-z0-9-]{1,32}");

  /** A service file can hold many broken lines; a loader that fails without end must stop. */
  private static final int MOST_BROKEN = 100;

  private static final String SERVICE_FILE = "META-INF/services/" + KernelProvider.class.getName();

  private Discovery() {}

  /**
   * Examines all that a loader finds.
   *
   * @param listed the class names of the service files, which tell what class it was that a loader
   *     failed to load
   */
  static DiscoveryReport discover(ServiceLoader<KernelProvider> loader, List<String> listed) {
    List<String> unseen = new ArrayList<>(listed);
    Found found = new Found();
    Iterator<ServiceLoader.Provider<KernelProvider>> candidates = loader.stream().iterator();
    while (found.broken.size() < MOST_BROKEN) {
      // hasNext() itself throws for a class that cannot be loaded, and then goes on behind it.
      String className = "?";
      String location = "";
      try {
        if (!candidates.hasNext()) {
          break;
        }
        ServiceLoader.Provider<KernelProvider> candidate = candidates.next();
        Class<? extends KernelProvider> type = candidate.type();
        className = type.getName();
        unseen.remove(className);
        location = location(type);
        found.add(examine(candidate.get(), location), "remove one of the two jars");
      } catch (ServiceConfigurationError | RuntimeException | LinkageError | StackOverflowError e) {
        if (className.equals("?")) {
          className = failedClass(e, unseen);
          unseen.remove(className);
        }
        found.broken.add(
            refused(
                "?",
                className,
                location,
                "it could not be loaded: "
                    + (e.getCause() == null ? e : e.getMessage() + ": " + e.getCause()),
                "check the jar and its dependencies, or remove it",
                e));
      }
    }
    return found.report();
  }

  static DiscoveryReport with(
      List<DiscoveryReport.Entry> entries, Iterable<? extends KernelProvider> providers) {
    Found found = new Found();
    for (DiscoveryReport.Entry entry : entries) {
      found.add(entry, "");
    }
    for (KernelProvider provider : providers) {
      found.add(
          examine(provider, location(provider.getClass())),
          "give it another id, or take the other off the class path");
    }
    return found.report();
  }

  /** Entries by id, the first of each; and those that cannot be used. */
  private static final class Found {
    private final List<DiscoveryReport.Entry> broken = new ArrayList<>();
    private final Map<String, DiscoveryReport.Entry> byId = new LinkedHashMap<>();

    void add(DiscoveryReport.Entry entry, String remedyIfTaken) {
      DiscoveryReport.Entry taken = byId.get(entry.id());
      if (entry.provider() == null) {
        broken.add(entry);
      } else if (taken != null) {
        broken.add(
            refused(
                entry.id(),
                entry.className(),
                entry.location(),
                "the id '"
                    + entry.id()
                    + "' is already taken by "
                    + taken.className()
                    + " ("
                    + taken.location()
                    + ")",
                remedyIfTaken,
                null));
      } else {
        byId.put(entry.id(), entry);
      }
    }

    DiscoveryReport report() {
      List<DiscoveryReport.Entry> entries = new ArrayList<>(byId.values());
      entries.sort(
          Comparator.comparingInt(DiscoveryReport.Entry::priority)
              .reversed()
              .thenComparing(DiscoveryReport.Entry::id));
      entries.addAll(broken);
      return new DiscoveryReport(entries);
    }
  }

  /**
   * The class that could not be loaded: the one that the error tells, else the first of the service
   * files that has not turned up yet, as they are gone through in their order.
   */
  private static String failedClass(Throwable error, List<String> unseen) {
    String message = String.valueOf(error.getMessage());
    for (String name : unseen) {
      if (message.contains(name)) {
        return name;
      }
    }
    return error instanceof LinkageError && !unseen.isEmpty() ? unseen.getFirst() : "?";
  }

  /**
   * The class names in the service files that a class loader sees; those unreadable are left out.
   */
  static List<String> listed(@Nullable ClassLoader loader) {
    List<String> names = new ArrayList<>();
    try {
      ClassLoader seeing = loader == null ? ClassLoader.getSystemClassLoader() : loader;
      for (URL file : Collections.list(seeing.getResources(SERVICE_FILE))) {
        try (InputStream in = file.openStream()) {
          new String(in.readAllBytes(), StandardCharsets.UTF_8)
              .lines()
              .map(line -> line.replaceFirst("#.*", "").strip())
              .filter(line -> !line.isEmpty() && !names.contains(line))
              .forEach(names::add);
        }
      }
    } catch (IOException e) {
      // Only used to name what is broken: the ServiceLoader reports the file itself.
    }
    return names;
  }

  /** Asks a provider all there is to know before it is opened. */
  static DiscoveryReport.Entry examine(KernelProvider provider, String location) {
    String className = provider.getClass().getName();
    String id = "?";
    SpiVersion version = null;
    int priority = 0;
    String call = "id()";
    try {
      String claimed = provider.id();
      if (claimed == null || !ID.matcher(claimed).matches()) {
        return refused(
            "?",
            className,
            location,
            "its id '" + claimed + "' is not 1 to 32 characters of [a-z0-9-]",
            "report this to the provider's authors",
            null);
      }
      id = claimed;
      call = "spiVersion()";
      version = provider.spiVersion();
      if (version == null || !SpiVersion.current().accepts(version)) {
        return refused(
            id,
            className,
            location,
            "it was written for SPI "
                + (version == null ? "null (spiVersion() returned it)" : version)
                + ", and this weft-api has SPI "
                + SpiVersion.current(),
            "use versions of the two that belong together",
            null);
      }
      call = "priority()";
      priority = provider.priority();
      call = "probe()";
      Probe probe = provider.probe();
      if (probe == null) {
        throw new NullPointerException("probe() returned null");
      }
      if (probe instanceof Probe.Available available) {
        call = "priority(List)";
        priority = provider.priority(available.devices());
      }
      return new DiscoveryReport.Entry(id, className, location, version, priority, provider, probe);
    } catch (OutOfMemoryError e) {
      throw e; // the JVM's trouble, not the provider's
    } catch (Throwable t) {
      Probe.Unavailable unavailable =
          new Probe.Unavailable(
              "it threw in " + call + ": " + t, "report this to the provider's authors", t);
      return new DiscoveryReport.Entry(
          id,
          className,
          location,
          version,
          priority,
          call.equals("probe()") ? provider : null,
          unavailable);
    }
  }

  private static DiscoveryReport.Entry refused(
      String id,
      String className,
      String location,
      String reason,
      String remedy,
      @Nullable Throwable cause) {
    return new DiscoveryReport.Entry(
        id, className, location, null, 0, null, new Probe.Unavailable(reason, remedy, cause));
  }

  private static String location(Class<?> type) {
    if (type.getModule().isNamed()) {
      return "module " + type.getModule().getName();
    }
    CodeSource source = type.getProtectionDomain().getCodeSource();
    return source == null || source.getLocation() == null ? "" : source.getLocation().toString();
  }
}
