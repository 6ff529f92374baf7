package dev.weft.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.weft.BackendUnavailableException;
import dev.weft.DiscoveryReport;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.Probe;
import jakarta.inject.Inject;
import java.io.IOException;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Lists what there is to compute on. */
@Command(name = "devices", description = "List devices, and say why a backend is not available.")
final class DevicesCommand implements Callable<Integer> {
  private final Console console;
  private final GlobalOptions options;
  private final Backends backends;

  @Option(names = "--json", description = "Print JSON.")
  boolean json;

  @Inject
  DevicesCommand(Console console, GlobalOptions options, Backends backends) {
    this.console = console;
    this.options = options;
    this.backends = backends;
  }

  @Override
  public Integer call() {
    List<DiscoveryReport.Entry> entries = entries(backends.report(), options.backend);
    if (json) {
      console.out().println(Json.text(generator -> write(generator, entries)));
    } else {
      BackendTables.print(entries, console.out());
    }
    return entries.stream().allMatch(e -> e.devices().isEmpty())
        ? ExitCode.UNAVAILABLE
        : ExitCode.GOOD;
  }

  /** All entries, or those of one backend. */
  static List<DiscoveryReport.Entry> entries(DiscoveryReport report, @Nullable String backend) {
    if (report.entries().isEmpty()) {
      throw new BackendUnavailableException(report.toString(), null);
    }
    if (backend == null) {
      return report.entries();
    }
    String id = backend.split(":", 2)[0];
    List<DiscoveryReport.Entry> chosen =
        report.entries().stream().filter(e -> e.id().equals(id)).toList();
    if (chosen.isEmpty()) {
      throw new IllegalArgumentException("backend '" + id + "': expected one of " + report.ids());
    }
    return chosen;
  }

  private static void write(JsonGenerator json, List<DiscoveryReport.Entry> entries)
      throws IOException {
    json.writeStartObject();
    json.writeArrayFieldStart("backends");
    for (DiscoveryReport.Entry entry : entries) {
      json.writeStartObject();
      json.writeStringField("id", entry.id());
      json.writeStringField("class", entry.className());
      json.writeStringField("location", entry.location());
      json.writeStringField("spiVersion", String.valueOf(entry.spiVersion()));
      json.writeNumberField("priority", entry.priority());
      json.writeBooleanField("available", !entry.devices().isEmpty());
      if (entry.probe() instanceof Probe.Unavailable unavailable) {
        json.writeStringField("reason", unavailable.reason());
        json.writeStringField("remedy", unavailable.remedy());
      }
      json.writeArrayFieldStart("devices");
      for (DeviceDescriptor device : entry.devices()) {
        write(json, entry.id(), device);
      }
      json.writeEndArray();
      json.writeEndObject();
    }
    json.writeEndArray();
    json.writeEndObject();
  }

  private static void write(JsonGenerator json, String id, DeviceDescriptor device)
      throws IOException {
    json.writeStartObject();
    json.writeStringField("device", id + ":" + device.index());
    json.writeStringField("name", device.name());
    json.writeStringField("kind", device.kind().name().toLowerCase(Locale.ROOT));
    json.writeStringField("vendor", device.vendor());
    json.writeStringField("driver", device.driver());
    json.writeNumberField("memoryBytes", device.memoryBytes());
    json.writeNumberField("computeUnits", device.computeUnits());
    json.writeBooleanField("graphs", device.graphs());
    json.writeObjectFieldStart("features");
    for (Map.Entry<String, String> feature : device.features().entrySet()) {
      json.writeStringField(feature.getKey(), feature.getValue());
    }
    json.writeEndObject();
    json.writeEndObject();
  }
}
