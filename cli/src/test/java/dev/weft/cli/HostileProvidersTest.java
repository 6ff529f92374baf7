package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.BackendUnavailableException;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.DiscoveryReport;
import dev.weft.ProviderException;
import dev.weft.Weft;
import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;

/**
 * Jars of providers that are broken in every way that a jar can be: each is reported by name, and
 * none keeps another from working.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class HostileProvidersTest {
  private Path folder = Path.of("");
  private final List<Path> jars = new ArrayList<>();

  /** A provider that works up to {@code open}, with members that may replace its own. */
  private static String provider(String name, String id, String more) {
    return """
    public class %s extends Base { public %s() { super("%s"); } %s }
    abstract class Base implements KernelProvider {
      private final String id;
      Base(String id) { this.id = id; }
      public String id() { return id; }
      public SpiVersion spiVersion() { return new SpiVersion(1, 0); }
      public int priority() { return 1000; }
      public Probe probe() {
        return new Probe.Available(List.of(
            DeviceDescriptor.builder(0, "device of " + id, DeviceDescriptor.Kind.OTHER).build()));
      }
      public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
        throw new BackendUnavailableException("the device is gone; plug it in again", null);
      }
    }
    """
        .formatted(name, name, id, more);
  }

  private void add(String name, String id, String more) throws IOException {
    jars.add(CompiledJar.of(folder, name, "acme." + name, provider(name, id, more)));
  }

  @BeforeAll
  void compile(@TempDir Path made) throws IOException {
    folder = made;
    add("DeviceGone", "device-gone", "");
    add(
        "OpenThrows",
        "open-throws",
        "public BackendDevice open(DeviceDescriptor d, DeviceOptions o) { throw new"
            + " AssertionError(\"open boom\"); }");
    add(
        "OpenNull",
        "open-null",
        "public BackendDevice open(DeviceDescriptor d, DeviceOptions o) { return null; }");
    add("ConstructorThrows", "constructor", "{ if (true) throw new Error(\"constructor boom\"); }");
    add("StaticThrows", "static", "static final int N = Integer.parseInt(\"static boom\");");
    add(
        "ProbeThrows",
        "probe-throws",
        "public Probe probe() { throw new UnsatisfiedLinkError(\"libacme\"); }");
    add("ProbeNull", "probe-null", "public Probe probe() { return null; }");
    add("ProbeOverflows", "probe-overflows", "public Probe probe() { return probe(); }");
    add("IdNull", "x", "public String id() { return null; }");
    add(
        "NewerMajor",
        "newer-major",
        "public SpiVersion spiVersion() { return new SpiVersion(2, 0); }");
    add("First", "twin", "");
    add("Second", "twin", "");
    jars.add(
        CompiledJar.of(
            folder,
            "NeedsMissing",
            "acme.NeedsMissing",
            provider("NeedsMissing", "needs-missing", "final Gone gone = new Gone();")
                + "class Gone {}",
            "Gone"));
    jars.add(
        CompiledJar.of(folder, "Nowhere", "acme.NoSuchProvider", provider("Nowhere", "n", "")));
    jars.add(
        CompiledJar.of(
            folder, "NotAProvider", "acme.NotAProvider", "public class NotAProvider {}"));
    jars.add(
        CompiledJar.of(folder, "BadLine", "acme.Bad Line", provider("BadLine", "bad-line", "")));
    jars.add(Files.writeString(folder.resolve("not-a-jar.jar"), "this is not a jar"));
  }

  private URLClassLoader loader() throws IOException {
    List<URL> urls = new ArrayList<>();
    for (Path jar : jars) {
      urls.add(jar.toUri().toURL());
    }
    return new URLClassLoader(
        urls.toArray(URL[]::new), HostileProvidersTest.class.getClassLoader());
  }

  private static void assertReported(DiscoveryReport report, String name, String... parts) {
    List<DiscoveryReport.Entry> entries =
        report.entries().stream()
            .filter(
                e -> e.className().equals("acme." + name) || e.problem().contains("acme." + name))
            .filter(e -> !e.problem().isEmpty())
            .toList();
    assertEquals(1, entries.size(), () -> name + " in\n" + report);
    for (String part : parts) {
      String problem = entries.getFirst().problem();
      assertTrue(problem.contains(part), () -> name + ": " + part + " in: " + problem);
    }
  }

  @Test
  void eachIsReportedByNameAndHidesNoOther() throws IOException {
    try (URLClassLoader loader = loader()) {
      DiscoveryReport report = Weft.discover(loader);
      assertReported(report, "ConstructorThrows", "constructor boom");
      assertReported(report, "StaticThrows", "ExceptionInInitializerError");
      assertReported(report, "ProbeThrows", "probe()", "libacme");
      assertReported(report, "ProbeNull", "probe() returned null");
      assertReported(report, "ProbeOverflows", "StackOverflowError");
      assertReported(report, "IdNull", "its id 'null'");
      assertReported(report, "NewerMajor", "SPI 2.0", "has SPI 1.");
      assertReported(
          report,
          "Second",
          "the id 'twin' is already taken by acme.First",
          "First.jar",
          "remove one");
      assertReported(report, "NeedsMissing", "acme/Gone");
      assertReported(report, "NoSuchProvider", "not found");
      assertReported(report, "NotAProvider", "not a subtype");
      assertTrue(report.toString().contains("BadLine.jar"), report::toString);
      for (String id : List.of("device-gone", "open-throws", "open-null", "twin")) {
        assertEquals(
            1, report.provider(id).orElseThrow().devices().size(), "claims a device: " + id);
      }
      assertTrue(report.provider("cpu").isPresent(), report::toString);
    }
  }

  @Test
  void automaticChoiceEndsAtTheFirstThatOpensAndSaysWhyNotTheOthers() throws IOException {
    try (URLClassLoader loader = loader();
        Device device = Weft.open(Weft.discover(loader), null, DeviceOptions.defaults())) {
      assertEquals("cpu:0", device.info().selector());
      String passedOver = String.join("\n", device.info().passedOver());
      for (String part :
          List.of(
              "device-gone: the device is gone; plug it in again",
              "open boom",
              "open-null",
              "probe-throws")) {
        assertTrue(passedOver.contains(part), part + " in\n" + passedOver);
      }
    }
  }

  @Test
  void theOneThatWasNamedSaysWhatIsWrongWithIt() throws IOException {
    try (URLClassLoader loader = loader()) {
      DiscoveryReport report = Weft.discover(loader);
      assertThrows(
          BackendUnavailableException.class,
          () -> Weft.open(report, "device-gone", DeviceOptions.defaults()));
      ProviderException nothing =
          assertThrows(
              ProviderException.class,
              () -> Weft.open(report, "open-null", DeviceOptions.defaults()));
      assertTrue(String.valueOf(nothing.getMessage()).contains("open-null"), nothing.getMessage());
      BackendUnavailableException newer =
          assertThrows(
              BackendUnavailableException.class,
              () -> Weft.open(report, "newer-major", DeviceOptions.defaults()));
      assertTrue(String.valueOf(newer.getMessage()).contains("SPI 2.0"), newer.getMessage());
    }
  }

  @Test
  void theCommandListsThemAllBesideThoseThatWork() {
    CommandLineRun run = CommandLineRun.of("devices", "--provider-jar", CompiledJar.path(jars));
    assertEquals(0, run.code(), run::toString);
    run.wrote("\ncpu:0 ");
    run.wrote("\ndevice-gone:0 ");
    run.wrote("Not available: newer-major (acme.NewerMajor)");
    run.wrote("NewerMajor.jar");
    run.wrote("Not available: ? (acme.NoSuchProvider)");
    run.wrote("remedy: ");
    assertFalse(run.out().contains("\tat "), "a stack trace");
  }

  @Test
  void aJarWithSeveralBackendsAsksWhichAndOneWithoutSaysSo() {
    CommandLineRun.of("demo", "--provider-jar", CompiledJar.path(jars.subList(0, 2)))
        .failedWithOneLine(2, "expected one backend", "[device-gone, open-throws]", "--backend ID");
    CommandLineRun.of("demo", "--provider-jar", folder.resolve("IdNull.jar").toString())
        .failedWithOneLine(3, "no backend in", "IdNull.jar", "its id 'null'");
    CommandLineRun.of("demo", "--provider-jar", folder.resolve("not-a-jar.jar").toString())
        .failedWithOneLine(3, "no backend in", "META-INF/services/dev.weft.spi.KernelProvider");
    CommandLineRun.of("demo", "--provider-jar", folder.resolve("gone.jar").toString())
        .failedWithOneLine(2, "gone.jar: no such file");
    CommandLineRun.of("demo", "--provider-jar", folder.resolve("DeviceGone.jar").toString())
        .failedWithOneLine(3, "the device is gone; plug it in again");
  }
}
