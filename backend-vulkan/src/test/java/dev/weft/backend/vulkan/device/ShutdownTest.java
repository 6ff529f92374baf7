package dev.weft.backend.vulkan.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.backend.vulkan.VulkanProvider;
import dev.weft.gpu.fixtures.OwnProcess;
import dev.weft.gpu.fixtures.PresentDevice;
import java.io.BufferedReader;
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
    Process child =
        OwnProcess.start(folder, LaunchingProgram.class, List.of("-Dweft.vulkan.cache=off"));
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
}
