package dev.weft.backend.opencl;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Runs a test's main class in a process of its own, on a class path of what this one has: for what
 * an environment variable decides, or a limit of the process.
 *
 * @param code the exit code
 * @param output what it wrote
 */
public record ChildProcess(int code, String output) {
  /**
   * Runs it.
   *
   * @param shellPrefix a command of the shell to go ahead, such as {@code ulimit -f 100}
   * @param environment variables to set
   * @param main a class of the tests
   * @param arguments its arguments
   */
  public static ChildProcess run(
      String shellPrefix, Map<String, String> environment, Class<?> main, String... arguments)
      throws IOException, InterruptedException {
    List<String> classPath = new ArrayList<>(List.of("target/test-classes", "target/classes"));
    for (String property : List.of("java.class.path", "jdk.module.path")) {
      String path = System.getProperty(property);
      if (path != null && !path.isEmpty()) {
        classPath.add(path);
      }
    }
    List<String> java =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:-UsePerfData",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                String.join(File.pathSeparator, classPath),
                main.getName()));
    java.addAll(List.of(arguments));
    List<String> command =
        new ArrayList<>(List.of("sh", "-c", shellPrefix + "; exec \"$@\"", "sh"));
    command.addAll(java);
    Path output = Files.createTempFile("weft-child", ".txt");
    try {
      ProcessBuilder builder =
          new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output.toFile());
      builder.environment().putAll(environment);
      Process process = builder.start();
      if (!process.waitFor(2, TimeUnit.MINUTES)) {
        process.destroyForcibly();
      }
      return new ChildProcess(process.waitFor(), Files.readString(output, StandardCharsets.UTF_8));
    } finally {
      Files.deleteIfExists(output);
    }
  }
}
