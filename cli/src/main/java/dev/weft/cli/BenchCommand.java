package dev.weft.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Tensor;
import dev.weft.cli.bench.BenchPage;
import dev.weft.cli.bench.Ceilings;
import dev.weft.cli.bench.Measurement;
import dev.weft.cli.bench.Preset;
import dev.weft.cli.bench.Presets;
import dev.weft.cli.bench.Workload;
import dev.weft.conformance.WholeFile;
import dev.weft.spi.DeviceDescriptor;
import jakarta.inject.Inject;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Measures operations. */
@Command(
    name = "bench",
    description = {
      "Measure operations against what the device can do.",
      "",
      "Device time by events, host time per call, beside what a copy (and on a CPU a "
          + "loop of multiply-adds) reaches in the same run. Caches are swept before each "
          + "launch.",
      ""
    })
final class BenchCommand implements Callable<Integer> {
  /** More than the caches of any device that we know. */
  private static final long SWEEP_BYTES = 256L << 20;

  private final Console console;
  private final Backends backends;

  @Parameters(
      arity = "0..*",
      paramLabel = "PRESET",
      description = "Names, or starts of names; those called small by default.")
  List<String> patterns = List.of();

  @Option(names = "--list", description = "List the presets.")
  boolean list;

  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      converter = CaseArguments.FloatingType.class,
      description = "f32, f16 or bf16; by default f32 on a CPU, else bf16.")
  @Nullable DataType dataType;

  @Option(
      names = "--seconds",
      paramLabel = "S",
      description =
          "How long to warm up and then to measure each, at least. Default: ${DEFAULT-VALUE}.")
  double seconds = 1;

  @Option(names = "--json", paramLabel = "FILE", description = "Write the numbers as JSON.")
  @Nullable Path json;

  @Option(names = "--html", paramLabel = "FILE", description = "Write a page with pictures.")
  @Nullable Path html;

  @Spec CommandSpec spec;

  @Inject
  BenchCommand(Console console, Backends backends) {
    this.console = console;
    this.backends = backends;
  }

  @Override
  public Integer call() throws IOException {
    PrintWriter out = console.out();
    if (list) {
      for (Preset preset : Presets.all()) {
        out.println(preset.name());
      }
      return ExitCode.GOOD;
    }
    if (!(seconds > 0 && seconds <= 3600)) {
      throw new ParameterException(
          spec.commandLine(), "--seconds: expected more than 0, at most 3600, but was " + seconds);
    }
    List<Preset> presets = Presets.find(patterns);
    Device device = backends.device();
    DataType type = dataType;
    if (type == null) {
      boolean cpu = device.info().descriptor().kind() == DeviceDescriptor.Kind.CPU;
      type = cpu ? DataType.F32 : DataType.BF16;
    }
    List<Measurement> measurements = new ArrayList<>();
    int code = ExitCode.GOOD;
    Ceilings ceilings;
    try (Progress progress = Progress.start(console, "bench", presets.size() + 1L);
        Tensor sweep = device.allocate(DataType.U8, SWEEP_BYTES)) {
      ceilings = Ceilings.measure(device, sweep);
      for (Preset preset : presets) {
        progress.step(preset.name());
        try (Workload workload = preset.create(device, type)) {
          measurements.add(
              Measurement.of(
                  workload,
                  preset.name(),
                  type.text(),
                  device,
                  sweep,
                  Duration.ofNanos((long) (seconds * 1e9))));
        } catch (RuntimeException e) {
          console.err().println("weft: " + preset.name() + ": " + Failures.describe(e));
          code = Math.max(code, Failures.exitCode(e));
        }
      }
    }
    List<String> facts = facts(device, ceilings);
    print(facts, ceilings, measurements);
    Path jsonFile = json;
    if (jsonFile != null) {
      write(jsonFile, Json.text(g -> write(g, device, ceilings, measurements)));
      out.println("JSON: " + jsonFile);
    }
    Path htmlFile = html;
    if (htmlFile != null) {
      String title = "weft bench on " + device.info();
      write(htmlFile, BenchPage.html(title, facts, ceilings, measurements));
      out.println("Page: " + htmlFile);
    }
    return code;
  }

  private static void write(Path file, String text) throws IOException {
    Path folder = file.toAbsolutePath().getParent();
    if (folder != null) {
      Files.createDirectories(folder);
    }
    WholeFile.write(file, text);
  }

  private static List<String> facts(Device device, Ceilings ceilings) {
    List<String> facts = new ArrayList<>();
    facts.add(
        "Device "
            + device.info()
            + ", weft "
            + Versions.of("dev.weft", "weft-cli")
            + ", Java "
            + Runtime.version());
    facts.add(
        String.format(
            Locale.ROOT,
            "Ceilings of this run: copy %.1f GB/s (read + written)%s",
            ceilings.copyBytesPerSecond() / 1e9,
            Double.isNaN(ceilings.flopsPerSecond())
                ? "; arithmetic was not measured on this kind of device"
                : String.format(
                    Locale.ROOT,
                    ", float32 multiply-adds %.1f GFLOP/s",
                    ceilings.flopsPerSecond() / 1e9)));
    if (!Double.isNaN(ceilings.readBytesPerSecond())) {
      facts.add(
          String.format(
              Locale.ROOT,
              "Reading alone %.1f GB/s; conv1d in the caches (width 4, SiLU) %.2f G elements/s",
              ceilings.readBytesPerSecond() / 1e9,
              ceilings.convolutionsPerSecond() / 1e9));
    }
    return facts;
  }

  private void print(List<String> facts, Ceilings ceilings, List<Measurement> measurements) {
    PrintWriter out = console.out();
    facts.forEach(out::println);
    out.println();
    TextTable table =
        new TextTable()
            .text("CASE")
            .text("TYPE")
            .number("MEDIAN MS")
            .number("P10")
            .number("P90")
            .number("GRAPH MS")
            .number("COPY MS")
            .number("OVER COPY")
            .number("HOST US")
            .number("LAUNCHES")
            .number("GFLOP/S")
            .number("GB/S")
            .number("OF LIMIT")
            .text("LIMITED BY")
            .number("WORK MIB")
            .number("RUNS")
            .text("NOTE");
    for (Measurement m : measurements) {
      table.row(
          m.preset(),
          m.type(),
          Units.digits(m.medianNanos() / 1e6),
          Units.digits(m.p10Nanos() / 1e6),
          Units.digits(m.p90Nanos() / 1e6),
          known(m.graphNanos() / 1e6),
          known(m.copyNanos() / 1e6),
          known(m.overCopy()),
          Units.digits(m.hostNanos() / 1e3),
          m.launches() < 0 ? "" : Integer.toString(m.launches()),
          Units.digits(m.flopsPerSecond() / 1e9),
          Units.digits(m.bytesPerSecond() / 1e9),
          Verdicts.percent(ceilings.limitNanos(m) / m.medianNanos()),
          ceilings.limitedBy(m),
          Units.digits(m.workspaceBytes() / 0x1p20),
          Integer.toString(m.runs()),
          m.note());
    }
    table.print(out);
    out.println();
    out.println(
        "GB/S counts bytes that have to cross memory once. OF LIMIT: the least time at the");
    out.println(
        "ceilings, over the median. GRAPH MS: replayed as a graph. COPY MS: a copy that reads");
    out.println(
        "and writes as many bytes, of what does little else; OVER COPY: the median over that.");
    out.println(
        "HOST US: the call that enqueues. LAUNCHES: kernels, copies and fills of one call.");
    out.println(
        "WORK MIB: workspace of the stream, beside the tensors; warm launches use it again.");
  }

  private static String known(double value) {
    return Double.isNaN(value) ? "" : Units.digits(value);
  }

  private static void write(
      JsonGenerator json, Device device, Ceilings ceilings, List<Measurement> measurements)
      throws IOException {
    json.writeStartObject();
    json.writeStringField("device", device.info().selector());
    json.writeStringField("deviceName", device.info().descriptor().name());
    json.writeStringField("weft", Versions.of("dev.weft", "weft-cli"));
    json.writeStringField("java", Runtime.version().toString());
    json.writeObjectFieldStart("ceilings");
    json.writeNumberField("copyBytesPerSecond", ceilings.copyBytesPerSecond());
    if (!Double.isNaN(ceilings.flopsPerSecond())) {
      json.writeNumberField("flopsPerSecond", ceilings.flopsPerSecond());
    }
    if (!Double.isNaN(ceilings.readBytesPerSecond())) {
      json.writeNumberField("readBytesPerSecond", ceilings.readBytesPerSecond());
      json.writeNumberField("convolutionsPerSecond", ceilings.convolutionsPerSecond());
    }
    json.writeEndObject();
    json.writeArrayFieldStart("measurements");
    for (Measurement m : measurements) {
      json.writeStartObject();
      json.writeStringField("preset", m.preset());
      json.writeStringField("dtype", m.type());
      json.writeStringField("spec", m.spec());
      json.writeStringField("note", m.note());
      json.writeNumberField("runs", m.runs());
      json.writeNumberField("medianNanos", m.medianNanos());
      json.writeNumberField("p10Nanos", m.p10Nanos());
      json.writeNumberField("p90Nanos", m.p90Nanos());
      if (!Double.isNaN(m.graphNanos())) {
        json.writeNumberField("graphNanos", m.graphNanos());
      }
      if (m.launches() >= 0) {
        json.writeNumberField("launches", m.launches());
      }
      if (!Double.isNaN(m.copyNanos())) {
        json.writeNumberField("copyNanos", m.copyNanos());
      }
      json.writeNumberField("hostNanos", m.hostNanos());
      json.writeNumberField("bytes", m.bytes());
      json.writeNumberField("flops", m.flops());
      json.writeNumberField("workspaceBytes", m.workspaceBytes());
      json.writeNumberField("limitNanos", ceilings.limitNanos(m));
      json.writeStringField("limitedBy", ceilings.limitedBy(m));
      json.writeEndObject();
    }
    json.writeEndArray();
    json.writeEndObject();
  }
}
