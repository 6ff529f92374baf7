package dev.weft.cli;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import picocli.CommandLine;

/**
 * The same command in a process of its own, and in another one whenever that dies: the case that
 * killed it fails, and the rest is run. What has been done is in a {@link CaseJournal}.
 */
final class ForkedVerification {
  private ForkedVerification() {}

  static int run(Console console, CommandLine line) throws IOException {
    Path folder = Files.createTempDirectory("weft-verify");
    try {
      Path file = Files.createFile(folder.resolve("journal"));
      CaseJournal journal = new CaseJournal(file);
      while (true) {
        int done = journal.size();
        int code = start(line.getParseResult().originalArgs(), folder, file);
        String crash = crash(folder);
        // The command's own codes, with every case that had begun ended. A crash may have one too.
        boolean itself = code >= ExitCode.GOOD && code <= ExitCode.UNAVAILABLE;
        if (itself && crash.isEmpty() && journal.begun() == null) {
          return code;
        }
        String why = "killed its process, which ended with code " + code + crash;
        if (!journal.fail(why) && journal.size() == done) {
          console.err().println("weft: the backend " + why + ", outside of any case");
          return ExitCode.WRONG;
        }
      }
    } finally {
      delete(folder);
    }
  }

  private static int start(List<String> arguments, Path folder, Path journal) throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
    command.add("-XX:ErrorFile=" + folder.resolve("hs_err.log"));
    command.add("-XX:-CreateCoredumpOnCrash");
    String main = Main.class.getName();
    if (Main.class.getModule().isNamed()) {
      command.addAll(List.of("-m", Main.class.getModule().getName() + '/' + main));
    } else {
      command.addAll(List.of("-cp", System.getProperty("java.class.path"), main));
    }
    command.addAll(arguments);
    command.addAll(List.of("--journal", journal.toString()));
    Process process =
        new ProcessBuilder(command)
            .redirectInput(ProcessBuilder.Redirect.INHERIT)
            .redirectOutput(ProcessBuilder.Redirect.INHERIT)
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    try {
      return process.waitFor();
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
      return ExitCode.WRONG;
    }
  }

  /** What the JVM found to say about its crash: the signal and the frame. */
  private static String crash(Path folder) throws IOException {
    Path log = folder.resolve("hs_err.log");
    if (!Files.exists(log)) {
      return "";
    }
    String text =
        Files.readAllLines(log).stream()
            .limit(40)
            .filter(line -> line.matches("#  (SIG|EXCEPTION|Internal|Out of).*|# [CVJjv]  ?.*"))
            .map(line -> line.replaceFirst("^#\\s*", ""))
            .collect(Collectors.joining("; "));
    Files.delete(log);
    return ": " + (text.isEmpty() ? "the JVM crashed" : text);
  }

  private static void delete(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.toList()) {
        Files.delete(file);
      }
    }
    Files.delete(folder);
  }
}
