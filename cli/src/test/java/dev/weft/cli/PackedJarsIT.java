package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Starts the jars as they are shipped, in a process of their own: on the class path, where
 * providers come from META-INF/services, and on a real module path, where they come from {@code
 * provides}.
 */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class PackedJarsIT {
  private static final String MAIN = "dev.weft.cli.Main";
  private static final String JAR = property("weft.cli.jar");
  private static final String LIB = property("weft.cli.lib");

  private static final List<String> CLASS_PATH =
      List.of(
          "--add-modules",
          "jdk.incubator.vector",
          "--enable-native-access=ALL-UNNAMED",
          "--sun-misc-unsafe-memory-access=allow",
          "-cp",
          JAR + File.pathSeparator + LIB + File.separator + "*",
          MAIN);

  private static final List<String> MODULE_PATH =
      List.of(
          // Backends that call natives have to be named: they are modules of their own here.
          "--enable-native-access=dev.weft.backend.cuda,jcuda,dev.weft.backend.opencl,jocl,"
              + "dev.weft.backend.vulkan,org.lwjgl,org.lwjgl.vma",
          "--add-modules",
          "jdk.incubator.vector,ALL-MODULE-PATH",
          "--sun-misc-unsafe-memory-access=allow",
          "-p",
          JAR + File.pathSeparator + LIB,
          "-m",
          "dev.weft.cli/" + MAIN);

  @TempDir Path folder;

  /** How a process ended, and what it wrote. */
  private record Ended(int code, String out, String err) {}

  @Test
  void bothPathsFindBothProviders() throws IOException, InterruptedException {
    for (List<String> path : List.of(CLASS_PATH, MODULE_PATH)) {
      Ended run = run(path, "devices");
      assertEquals(0, run.code, run::toString);
      assertTrue(run.out.contains("\ncpu:0 "), run::toString);
      assertTrue(run.out.contains("\nreference:0 "), run::toString);
      assertEquals(List.of(), complaints(run));
    }
  }

  @Test
  void bothPathsComputeWhatTheOriginalsDid() throws IOException, InterruptedException {
    for (List<String> path : List.of(CLASS_PATH, MODULE_PATH)) {
      Ended run = run(path, "demo");
      assertEquals(0, run.code, run::toString);
      assertTrue(run.out.contains("\nOK: all "), run::toString);
      assertFalse(run.out.contains("\u001b"), "colour where no terminal is");
      assertEquals(List.of(), complaints(run));
    }
  }

  @Test
  void bothPathsEndWithTheSameCodes() throws IOException, InterruptedException {
    String nix = folder.resolve("nix.safetensors").toString();
    for (List<String> path : List.of(CLASS_PATH, MODULE_PATH)) {
      Ended missing = run(path, "run", nix, "--out-dir", folder.resolve("out").toString());
      assertEquals(2, missing.code, missing::toString);
      assertEquals(1, complaints(missing).size(), missing.err);
      Ended unknown = run(path, "demo", "--backend", "metal:1");
      assertEquals(2, unknown.code, unknown::toString);
      assertEquals(1, complaints(unknown).size(), unknown.err);
    }
  }

  @Test
  void aBackendChosenByPropertyIsTaken() throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(List.of("-Dweft.backend=reference"));
    command.addAll(CLASS_PATH);
    Path file = Cases.golden(folder, Cases.CONV);
    Ended run = run(command, "check", file.toString());
    assertEquals(0, run.code, run::toString);
    assertTrue(run.out.contains("right on reference:0"), run::toString);
  }

  /** The lines on the error stream, but for the one by which the JVM greets the Vector API. */
  private static List<String> complaints(Ended run) {
    return run.err.lines().filter(l -> !l.contains("Using incubator modules")).toList();
  }

  private Ended run(List<String> jvmArguments, String... arguments)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(jvmArguments);
    command.addAll(Arrays.asList(arguments));
    Path out = folder.resolve("out.txt");
    Path err = folder.resolve("err.txt");
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectOutput(out.toFile()).redirectError(err.toFile());
    builder.environment().keySet().removeIf(n -> n.startsWith("WEFT_") || n.contains("JAVA_"));
    int code = builder.start().waitFor();
    return new Ended(
        code,
        Files.readString(out, StandardCharsets.UTF_8),
        Files.readString(err, StandardCharsets.UTF_8));
  }

  private static String property(String name) {
    return Objects.requireNonNull(System.getProperty(name), name);
  }
}
