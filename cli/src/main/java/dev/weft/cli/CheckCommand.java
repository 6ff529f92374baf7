package dev.weft.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.conformance.vectors.CaseComparison;
import dev.weft.conformance.vectors.CaseFile;
import dev.weft.conformance.vectors.CaseRunner;
import jakarta.inject.Inject;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Computes cases and compares with what they expect. */
@Command(
    name = "check",
    description = "Compute cases and compare with the outputs that they expect.")
final class CheckCommand implements Callable<Integer> {
  private final Console console;
  private final GlobalOptions options;
  private final Backends backends;

  @Mixin CaseArguments cases = new CaseArguments();

  @Option(names = "--json", description = "Print JSON.")
  boolean json;

  @Inject
  CheckCommand(Console console, GlobalOptions options, Backends backends) {
    this.console = console;
    this.options = options;
    this.backends = backends;
  }

  @Override
  public Integer call() {
    Device device = backends.device();
    List<CaseComparison> results = new ArrayList<>();
    int code = ExitCode.GOOD;
    try (Progress progress = Progress.start(console, "check", cases.files.size())) {
      for (Path path : cases.files) {
        try {
          CaseFile file = CaseFile.read(path);
          DataType type = cases.typeOf(file);
          CaseComparison result = CaseComparison.of(file, type, CaseRunner.run(device, file, type));
          results.add(result);
          code = Math.max(code, result.passed() ? ExitCode.GOOD : ExitCode.WRONG);
        } catch (RuntimeException e) {
          code = Math.max(code, Failures.report(Failures.about(path, e), console, options.verbose));
        }
        progress.step(String.valueOf(path.getFileName()));
      }
    }
    if (json) {
      console.out().println(Json.text(generator -> write(generator, device, results)));
    } else {
      print(device, results);
    }
    return code;
  }

  private void print(Device device, List<CaseComparison> results) {
    if (results.isEmpty()) {
      return;
    }
    TextTable table =
        new TextTable()
            .text("CASE")
            .text("TYPE")
            .text("OUTPUT")
            .number("ELEMENTS")
            .number("WRONG")
            .number("MAX ERROR")
            .number("OF ALLOWED")
            .text("RESULT");
    long wrong = 0;
    for (CaseComparison result : results) {
      wrong += result.passed() ? 0 : 1;
      for (CaseComparison.Output output : result.outputs()) {
        table.row(
            result.file().name(),
            result.type().text(),
            output.name(),
            Long.toString(output.elements()),
            Long.toString(output.wrong()),
            Units.digits(output.maxError()),
            output.exact() ? "exact" : Verdicts.percent(output.share()),
            output.passed() ? "ok" : "WRONG");
      }
    }
    table.print(console.out());
    for (CaseComparison result : results) {
      for (CaseComparison.Output output : result.outputs()) {
        if (!output.passed()) {
          console.out().println();
          console.out().println(result.file().name() + ": " + output);
        }
      }
    }
    console.out().println();
    console
        .out()
        .println(
            wrong == 0
                ? Verdicts.count(results.size(), "case") + " right on " + device.info()
                : wrong
                    + " of "
                    + Verdicts.count(results.size(), "case")
                    + " WRONG on "
                    + device.info());
  }

  private static void write(JsonGenerator json, Device device, List<CaseComparison> results)
      throws IOException {
    json.writeStartObject();
    json.writeStringField("device", device.info().selector());
    json.writeArrayFieldStart("cases");
    for (CaseComparison result : results) {
      json.writeStartObject();
      json.writeStringField("case", result.file().name());
      json.writeStringField("file", result.file().file());
      json.writeStringField("operation", result.file().operation());
      json.writeStringField("dtype", result.type().text());
      json.writeBooleanField("passed", result.passed());
      json.writeArrayFieldStart("outputs");
      for (CaseComparison.Output output : result.outputs()) {
        json.writeStartObject();
        json.writeStringField("name", output.name());
        json.writeBooleanField("passed", output.passed());
        json.writeNumberField("elements", output.elements());
        json.writeNumberField("wrong", output.wrong());
        json.writeStringField("rule", output.rule().formula());
        json.writeNumberField("share", output.share());
        json.writeNumberField("maxError", output.maxError());
        json.writeNumberField("got", output.got());
        json.writeNumberField("expected", output.expected());
        json.writeNumberField("allowed", output.allowed());
        json.writeStringField("position", output.position());
        json.writeEndObject();
      }
      json.writeEndArray();
      json.writeEndObject();
    }
    json.writeEndArray();
    json.writeEndObject();
  }
}
