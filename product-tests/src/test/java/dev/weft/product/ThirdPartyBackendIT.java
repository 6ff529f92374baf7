package dev.weft.product;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.product.Processes.Ended;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.spi.ToolProvider;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;

/**
 * The example, from its own build against the published artifacts to a place beside the command.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class ThirdPartyBackendIT {
  private static final String[] CLAIMS = {
    "--operation", "conv1d", "--mandatory", "CORE,BF16,F16,TRAINING,PAGED"
  };

  private final Path example = Processes.WORK.resolve("third-party-backend");
  private final Path jar = example.resolve("target/example-backend-1.0.0.jar");

  /** Its tests are the suite: a build that succeeds is a suite that passed. */
  @BeforeAll
  void theExampleBuildsAgainstThePublishedArtifactsAndPassesTheSuite()
      throws IOException, InterruptedException {
    Processes.copy(Processes.ROOT.resolve("examples/third-party-backend"), example);
    Ended build = Processes.maven(example, "verify");
    assertEquals(0, build.code(), build::text);
    assertTrue(Files.isRegularFile(jar), build::text);
    String certificate = Files.readString(example.resolve("target/conformance/example.md"));
    assertTrue(
        certificate.startsWith("# Weft conformance: example ")
            && certificate.lines().findFirst().orElse("").endsWith(", PASSED"),
        certificate);
  }

  @Test
  void itNeedsNothingOfWeftButTheApi() throws IOException {
    String pom = Files.readString(example.resolve("pom.xml"));
    assertFalse(pom.contains("<parent>"), "a build of its own");
    String sources = "";
    try (Stream<Path> files = Files.walk(example.resolve("src/main/java"))) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        sources += Files.readString(file);
      }
    }
    assertFalse(sources.contains("dev.weft.backend"), "it uses another backend");
    assertFalse(sources.contains("dev.weft.conformance"), "it uses the suite");
  }

  @Test
  void besideTheCommandItIsADevice() throws IOException, InterruptedException {
    Ended devices = Processes.weft(List.of(jar), "devices");
    assertEquals(0, devices.code(), devices::text);
    assertTrue(devices.text().contains("\nexample:0 "), devices::text);
    assertTrue(devices.text().contains("\ncpu:0 "), devices::text);
    assertFalse(Processes.weft(List.of(), "devices").text().contains("example"));
    Ended doctor = Processes.weft(List.of(jar), "doctor", "--backend", "example");
    assertEquals(0, doctor.code(), doctor::text);
  }

  @Test
  void namedOnTheCommandLineItIsVerifiedAndCertified() throws IOException, InterruptedException {
    Path report = Processes.WORK.resolve("report");
    Processes.delete(report);
    Ended verify =
        Processes.weft(
            List.of(),
            with(
                CLAIMS, "verify", "--provider-jar", jar.toString(), "--report", report.toString()));
    assertEquals(0, verify.code(), verify::text);
    assertTrue(verify.text().contains("PASSED: "), verify::text);
    String certificate = Files.readString(report.resolve("example.md"));
    for (String part :
        List.of(
            "# Weft conformance: example 1.0.0, PASSED",
            "of Weft " + Processes.VERSION,
            "| Provider's jar | `example-backend-1.0.0.jar` |",
            "example has no attention, only causal convolutions")) {
      assertTrue(certificate.contains(part), () -> part + " in\n" + certificate);
    }
    for (String file : List.of("example.json", "example.html", "example.junit.xml")) {
      assertTrue(Files.isRegularFile(report.resolve(file)), file);
    }
    String page = report.resolve("example.md").toString();
    Ended check = Processes.weft(List.of(), "certificate", page);
    assertEquals(0, check.code(), check::text);
    assertTrue(check.text().contains("The suite that made it is the one in use here."));
    Files.writeString(report.resolve("example.md"), certificate.replace("1.0.0", "1.0.1"));
    assertEquals(1, Processes.weft(List.of(), "certificate", page).code());
  }

  @Test
  void whatItDoesNotClaimIsHeldAgainstItOnlyIfAsked() throws IOException, InterruptedException {
    Ended verify =
        Processes.weft(
            List.of(), "verify", "--provider-jar", jar.toString(), "--case", "moba.forward/f32");
    assertEquals(1, verify.code(), verify::text);
    assertTrue(
        verify.text().contains("says no: example has no attention, only causal convolutions"),
        verify::text);
  }

  /** What the SPI promises: who was compiled against its oldest 1.x need not compile again. */
  @Test
  void compiledAgainstTheBaselineOfTheApiItStillPasses() throws IOException, InterruptedException {
    Path baseline = Processes.ROOT.resolve("api/target/baseline/weft-api.jar");
    assertTrue(Files.isRegularFile(baseline), "api's build makes it: " + baseline);
    Path classes = Processes.WORK.resolve("against-baseline");
    Processes.copy(example.resolve("src/main/resources"), classes);
    List<Path> sources;
    try (Stream<Path> files = Files.walk(example.resolve("src/main/java/com"))) {
      sources = files.filter(Files::isRegularFile).toList();
    }
    compile(classes, baseline + java.io.File.pathSeparator + nullAnnotations(), sources);
    Ended verify =
        Processes.weft(
            List.of(),
            with(
                CLAIMS,
                "verify",
                "--provider-jar",
                classes.toString(),
                "--case",
                "conv1d.*/f32|device.provider"));
    assertEquals(0, verify.code(), verify::text);
  }

  /** A fault that no Java program survives: it reads address 0. */
  @Test
  void aCrashInAForkedRunFailsOneCaseAndTheRestIsRun() throws IOException, InterruptedException {
    Path source = Processes.WORK.resolve("CrashingProvider.java");
    Files.writeString(
        source,
        """
        package com.example.weft;
        import dev.weft.DeviceOptions;
        import dev.weft.spi.*;
        import java.lang.foreign.*;
        import java.lang.reflect.Proxy;
        public class CrashingProvider implements KernelProvider {
          public String id() { return "crashing"; }
          public SpiVersion spiVersion() { return new SpiVersion(1, 0); }
          public Probe probe() { return new ExampleProvider().probe(); }
          public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
            BackendDevice right = new ExampleProvider().open(device, options);
            return (BackendDevice) Proxy.newProxyInstance(
                getClass().getClassLoader(), new Class<?>[] {BackendDevice.class},
                (proxy, method, arguments) -> {
                  if (method.getName().equals("prepare") && arguments[0].toString().contains("width=5")) {
                    MemorySegment.NULL.reinterpret(8).get(ValueLayout.JAVA_LONG, 0);
                  }
                  return method.invoke(right, arguments);
                });
          }
        }
        """);
    Path classes = Processes.WORK.resolve("crashing");
    Processes.delete(classes);
    compile(classes, apiJar() + java.io.File.pathSeparator + jar, List.of(source));
    Path service = classes.resolve("META-INF/services/dev.weft.spi.KernelProvider");
    Files.createDirectories(classes.resolve("META-INF/services"));
    Files.writeString(service, "com.example.weft.CrashingProvider");
    Path report = Processes.WORK.resolve("crash-report");
    Processes.delete(report);
    Ended verify =
        Processes.weft(
            List.of(jar),
            with(
                CLAIMS,
                "verify",
                "--provider-jar",
                classes.toString(),
                "--fork",
                "--case",
                "conv1d.forward/f32",
                "--report",
                report.toString()));
    assertEquals(1, verify.code(), verify::text);
    assertTrue(verify.text().contains("killed its process"), verify::text);
    assertTrue(verify.text().contains("SIGSEGV"), verify::text);
    String json = Files.readString(report.resolve("crashing.json"));
    long failed = json.lines().filter(line -> line.contains("\"status\" : \"FAIL\"")).count();
    long passed = json.lines().filter(line -> line.contains("\"status\" : \"PASS\"")).count();
    assertTrue(failed >= 1 && failed <= 6, failed + " failed");
    assertTrue(passed >= 20, passed + " passed");
    assertTrue(
        json.lines()
            .filter(line -> line.contains("\"status\" : \"FAIL\""))
            .allMatch(line -> line.contains("W=5")),
        "only what crashes fails");
  }

  /** JSpecify's jar, which Maven would give whoever depends on the api. */
  private static Path nullAnnotations() throws IOException {
    try (Stream<Path> jars = Files.list(Processes.ROOT.resolve("cli/target/lib"))) {
      return jars.filter(jar -> jar.getFileName().toString().startsWith("jspecify"))
          .findFirst()
          .orElseThrow();
    }
  }

  private static Path apiJar() {
    return Processes.ROOT.resolve("api/target/weft-api-" + Processes.VERSION + ".jar");
  }

  private static void compile(Path classes, String path, List<Path> sources) throws IOException {
    Files.createDirectories(classes);
    List<String> arguments =
        new ArrayList<>(List.of("-proc:none", "-nowarn", "-cp", path, "-d", classes.toString()));
    sources.forEach(source -> arguments.add(source.toString()));
    StringWriter messages = new StringWriter();
    PrintWriter out = new PrintWriter(messages);
    int code =
        ToolProvider.findFirst("javac")
            .orElseThrow()
            .run(out, out, arguments.toArray(String[]::new));
    assertEquals(0, code, messages::toString);
  }

  private static String[] with(String[] last, String... first) {
    return Stream.concat(Stream.of(first), Stream.of(last)).toArray(String[]::new);
  }
}
