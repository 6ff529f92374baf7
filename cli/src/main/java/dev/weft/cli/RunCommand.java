package dev.weft.cli;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.conformance.vectors.CaseFile;
import dev.weft.conformance.vectors.CaseRunner;
import jakarta.inject.Inject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Computes cases and writes what came out. */
@Command(
    name = "run",
    description = {
      "Compute cases and write the outputs.",
      "",
      "Computes every output that a case's inputs allow, gradients when it has dout, "
          + "into DIR/NAME.safetensors, NAME being the file's name without its extension.",
      ""
    })
final class RunCommand implements Callable<Integer> {
  private final Console console;
  private final GlobalOptions options;
  private final Backends backends;

  @Mixin CaseArguments cases = new CaseArguments();

  @Option(
      names = "--out-dir",
      required = true,
      paramLabel = "DIR",
      description = "Where to write; made if it is not there.")
  @Nullable Path outDir;

  @Inject
  RunCommand(Console console, GlobalOptions options, Backends backends) {
    this.console = console;
    this.options = options;
    this.backends = backends;
  }

  @Override
  public Integer call() throws IOException {
    Path folder = outDir;
    if (folder == null) {
      throw new IllegalStateException("--out-dir is required");
    }
    checkNamesDiffer();
    Device device = backends.device();
    Files.createDirectories(folder);
    int code = ExitCode.GOOD;
    try (Progress progress = Progress.start(console, "run", cases.files.size())) {
      for (Path file : cases.files) {
        code = Math.max(code, run(device, file, folder));
        progress.step(String.valueOf(file.getFileName()));
      }
    }
    return code;
  }

  private int run(Device device, Path path, Path folder) {
    try {
      CaseFile file = CaseFile.read(path);
      DataType type = cases.typeOf(file);
      Map<String, HostTensor> outputs = CaseRunner.run(device, file, type);
      Path target = folder.resolve(file.name() + ".safetensors");
      CaseRunner.results(device, file, type, outputs).write(target);
      console
          .out()
          .println(
              file.name()
                  + " in "
                  + type.text()
                  + " on "
                  + device.info().selector()
                  + " -> "
                  + target
                  + " ("
                  + String.join(", ", outputs.keySet())
                  + ")");
      return ExitCode.GOOD;
    } catch (IOException | RuntimeException e) {
      return Failures.report(Failures.about(path, e), console, options.verbose);
    }
  }

  private void checkNamesDiffer() {
    Map<String, Path> byName = new HashMap<>();
    for (Path file : cases.files) {
      String name = stem(file);
      Path other = byName.putIfAbsent(name, file);
      if (other != null) {
        throw new IllegalArgumentException(
            "CASE: expected files of different names, but "
                + other
                + " and "
                + file
                + " would both be written to "
                + name
                + ".safetensors");
      }
    }
  }

  private static String stem(Path file) {
    String name = String.valueOf(file.getFileName());
    int dot = name.lastIndexOf('.');
    return dot <= 0 ? name : name.substring(0, dot);
  }
}
