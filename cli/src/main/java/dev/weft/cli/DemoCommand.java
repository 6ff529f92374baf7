package dev.weft.cli;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.UnsupportedSpecException;
import dev.weft.conformance.vectors.CaseComparison;
import dev.weft.conformance.vectors.CaseFile;
import dev.weft.conformance.vectors.CaseRunner;
import dev.weft.conformance.vectors.GoldenVectors;
import jakarta.inject.Inject;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;

/** The main job, shown: all three operations on real vectors, checked and timed. */
@Command(
    name = "demo",
    description = {
      "Show all three operations on real vectors, checked and timed.",
      "",
      "Computes the vectors that come with Weft, forward and backward, on the reference "
          + "and on the best device; compares with what the original implementations "
          + "returned; times both.",
      ""
    })
final class DemoCommand implements Callable<Integer> {
  private static final String REFERENCE = "reference";

  private final Console console;
  private final Backends backends;

  @Inject
  DemoCommand(Console console, Backends backends) {
    this.console = console;
    this.backends = backends;
  }

  /** A case on one device. */
  private record Result(CaseComparison comparison, double millis) {}

  @Override
  public Integer call() {
    long start = System.nanoTime();
    PrintWriter out = console.out();
    Device device = backends.device();
    boolean alone =
        device.info().providerId().equals(REFERENCE)
            || backends.report().provider(REFERENCE).isEmpty();
    List<Device> devices = alone ? List.of(device) : List.of(backends.device(REFERENCE), device);
    out.println("Device     " + device.info());
    device.info().passedOver().forEach(line -> out.println("           not " + line));
    if (!alone) {
      out.println("Reference  " + devices.getFirst().info());
    }
    out.println();

    TextTable table = new TextTable().text("OPERATION").text("CASE").text("TYPE").number("OUTPUTS");
    for (Device d : devices) {
      String name = d.info().providerId().toUpperCase(Locale.ROOT);
      table.number(name + " MS").number("ERROR").text("");
    }
    List<String> names = GoldenVectors.names();
    List<String> wrong = new ArrayList<>();
    List<String> refused = new ArrayList<>();
    try (Progress progress = Progress.start(console, "demo", names.size())) {
      for (String name : names) {
        CaseFile file = GoldenVectors.open(name);
        List<String> row = new ArrayList<>();
        row.add(operation(file));
        row.add(name);
        row.add(file.dataType().text());
        row.add(Integer.toString(file.expected().size()));
        for (Device d : devices) {
          Result result;
          try {
            result = compute(d, file);
          } catch (UnsupportedSpecException e) {
            row.addAll(List.of("-", "-", "not supported"));
            refused.add(Failures.describe(e));
            continue;
          }
          boolean passed = result.comparison.passed();
          row.add(String.format(Locale.ROOT, "%.1f", result.millis));
          row.add(Verdicts.percent(Verdicts.share(result.comparison)));
          row.add(passed ? "ok" : "WRONG");
          if (!passed) {
            wrong.add(d.info().selector() + ": " + result.comparison);
          }
        }
        table.row(row.toArray(String[]::new));
        progress.step(name);
      }
    }
    table.print(out);
    out.println();
    out.println("MS: one call with inputs on the host: upload, forward, backward where there is a");
    out.println("dout, download. ERROR: the largest of all outputs, of what is allowed there.");
    for (String text : refused.stream().distinct().toList()) {
      out.println();
      out.println(text);
    }
    for (String text : wrong) {
      out.println();
      out.println(text);
    }
    out.println();
    String seconds = String.format(Locale.ROOT, "%.1f s", (System.nanoTime() - start) / 1e9);
    if (wrong.isEmpty() && !refused.isEmpty()) {
      out.println(
          "INCOMPLETE: what was computed agrees with the original implementations, but "
              + Verdicts.count(refused.size(), "case")
              + " could not be computed, see above ("
              + seconds
              + ").");
      return ExitCode.UNAVAILABLE;
    }
    if (wrong.isEmpty()) {
      out.println(
          "OK: all "
              + names.size()
              + " cases agree with what the original implementations returned ("
              + seconds
              + ").");
      return ExitCode.GOOD;
    }
    out.println("WRONG: " + Verdicts.count(wrong.size(), "result") + " of them, see above.");
    return ExitCode.WRONG;
  }

  /** The second of two runs is timed: the first one compiles. */
  private static Result compute(Device device, CaseFile file) {
    DataType type = file.dataType();
    CaseRunner.run(device, file, type);
    long start = System.nanoTime();
    Map<String, HostTensor> outputs = CaseRunner.run(device, file, type);
    double millis = (System.nanoTime() - start) / 1e6;
    return new Result(CaseComparison.of(file, type, outputs), millis);
  }

  private static String operation(CaseFile file) {
    return switch (file.operation()) {
      case "moba_attention" -> "MoBA attention";
      case "moe_dispatch" -> "MoE dispatch";
      case "causal_conv1d" -> "causal conv1d";
      case "causal_conv1d_update" -> "conv1d update";
      default -> file.operation();
    };
  }
}
