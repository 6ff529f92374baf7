package dev.weft.backend.vulkan.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.backend.vulkan.VulkanProvider;
import dev.weft.gpu.fixtures.PresentDevice;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.RepetitionInfo;
import org.junit.jupiter.api.io.TempDir;

/** A program that is told to end while its threads are at work with the device. */
class ShutdownTest {
  private static final int TERMINATED = 128 + 15;

  @BeforeAll
  static void needsADevice() {
    PresentDevice.required(new VulkanProvider());
  }

  @RepeatedTest(4)
  void aProcessThatIsToldToEndWhileItLaunchesDoesNotCrash(
      RepetitionInfo repetition, @TempDir Path folder) throws Exception {
    Process child = start(folder);
    try (BufferedReader out = child.inputReader(StandardCharsets.UTF_8)) {
      List<String> said = new ArrayList<>();
      String line = out.readLine();
      while (line != null && !line.equals(LaunchingProgram.READY)) {
        said.add(line);
        line = out.readLine();
      }
      Thread.sleep(20L * repetition.getCurrentRepetition());
      child.toHandle().destroy(); // SIGTERM; leaves its output open
      said.add(out.lines().collect(Collectors.joining("\n")));
      assertTrue(child.waitFor(1, TimeUnit.MINUTES));
      assertEquals(TERMINATED, child.exitValue(), () -> String.join("\n", said));
    } finally {
      child.destroyForcibly();
    }
  }

  private static Process start(Path folder) throws IOException {
    List<String> classPath = new ArrayList<>();
    for (String own : List.of("target/test-classes", "target/classes", "target/spirv")) {
      classPath.add(Path.of(own).toAbsolutePath().toString());
    }
    classPath.add(Path.of("target/test-spirv").toAbsolutePath().toString());
    for (String property : List.of("java.class.path", "jdk.module.path")) {
      String path = System.getProperty(property);
      if (path != null && !path.isEmpty()) {
        classPath.add(path);
      }
    }
    return new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-XX:-UsePerfData",
            "--enable-native-access=ALL-UNNAMED",
            "-Dweft.vulkan.cache=off",
            "-cp",
            String.join(File.pathSeparator, classPath),
            LaunchingProgram.class.getName())
        .directory(folder.toFile()) // a report of a crash goes there
        .redirectErrorStream(true)
        .start();
  }
}
