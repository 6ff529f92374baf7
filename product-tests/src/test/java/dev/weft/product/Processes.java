package dev.weft.product;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** The build and the command, as processes of their own: all that a stranger has. */
final class Processes {
  static final Path ROOT = path("weft.root");
  static final Path WORK = path("weft.work");
  static final String VERSION = property("weft.version");

  private Processes() {}

  /**
   * How a process ended.
   *
   * @param code its exit code
   * @param text what it wrote, errors too
   */
  record Ended(int code, String text) {}

  static String property(String name) {
    return Objects.requireNonNull(System.getProperty(name), name);
  }

  private static Path path(String name) {
    return Path.of(property(name)).toAbsolutePath().normalize();
  }

  /** Maven with the artifacts that were published by this build, and nothing from the network. */
  static Ended maven(Path folder, String... arguments) throws IOException, InterruptedException {
    List<String> command = mavenCommand();
    command.addAll(List.of(arguments));
    return run(folder, command);
  }

  /** What {@link #maven} starts, without arguments. */
  static List<String> mavenCommand() throws IOException {
    Files.createDirectories(WORK);
    Path settings = WORK.resolve("settings.xml");
    Files.writeString(
        settings,
        """
        <settings>
          <mirrors>
            <mirror>
              <id>what-this-build-has</id>
              <url>%s</url>
              <mirrorOf>*</mirrorOf>
            </mirror>
          </mirrors>
        </settings>
        """
            .formatted(path("maven.local").toUri()));
    return new ArrayList<>(
        List.of(
            path("maven.home").resolve("bin/mvn").toString(),
            "-B",
            "-s",
            settings.toString(),
            "-Dmaven.repo.local=" + path("weft.published")));
  }

  /** The command, on a class path of its jar, all of its lib, and more. */
  static Ended weft(List<Path> beside, String... arguments)
      throws IOException, InterruptedException {
    List<String> command = weftCommand(beside);
    command.addAll(List.of(arguments));
    Files.createDirectories(WORK);
    return run(WORK, command);
  }

  /** What {@link #weft} starts, without arguments. */
  static List<String> weftCommand(List<Path> beside) {
    Path cli = ROOT.resolve("cli/target");
    StringBuilder path = new StringBuilder(cli.resolve("weft-cli-" + VERSION + ".jar").toString());
    path.append(File.pathSeparator).append(cli.resolve("lib")).append(File.separator).append('*');
    beside.forEach(jar -> path.append(File.pathSeparator).append(jar));
    return new ArrayList<>(
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "--add-modules",
            "jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow",
            "-cp",
            path.toString(),
            "dev.weft.cli.Main"));
  }

  static Ended run(Path folder, List<String> command) throws IOException, InterruptedException {
    Path out = Files.createTempFile(WORK, "output", ".txt");
    ProcessBuilder builder =
        new ProcessBuilder(command)
            .directory(folder.toFile())
            .redirectErrorStream(true)
            .redirectOutput(out.toFile());
    builder.environment().keySet().removeIf(n -> n.startsWith("WEFT_") || n.startsWith("MAVEN_"));
    builder.environment().put("JAVA_HOME", System.getProperty("java.home"));
    Process process = builder.start();
    if (!process.waitFor(5, TimeUnit.MINUTES)) {
      process.destroyForcibly();
      throw new AssertionError(command + " did not end; so far:\n" + Files.readString(out));
    }
    return new Ended(process.exitValue(), Files.readString(out));
  }

  /** Copies a folder anew, without what was built in it. */
  static void copy(Path from, Path to) throws IOException {
    delete(to);
    try (Stream<Path> files = Files.walk(from)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        Path relative = from.relativize(file);
        if (!relative.startsWith("target")) {
          Path target = to.resolve(relative);
          Files.createDirectories(Objects.requireNonNull(target.getParent()));
          Files.copy(file, target);
        }
      }
    }
  }

  static void delete(Path folder) throws IOException {
    if (!Files.exists(folder)) {
      return;
    }
    try (Stream<Path> files = Files.walk(folder)) {
      for (Path file : files.sorted(java.util.Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }
}
