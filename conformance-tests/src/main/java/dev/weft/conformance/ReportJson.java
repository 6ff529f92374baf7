package dev.weft.conformance;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import dev.weft.spi.DeviceDescriptor;
import java.io.IOException;
import java.io.StringWriter;
import java.util.Map;

/** A report for programs. Field names are stable. */
final class ReportJson {
  private final ConformanceReport report;

  ReportJson(ConformanceReport report) {
    this.report = report;
  }

  String text() throws IOException {
    StringWriter text = new StringWriter();
    try (JsonGenerator json = new JsonFactory().createGenerator(text)) {
      json.setPrettyPrinter(
          new DefaultPrettyPrinter()
              .withObjectIndenter(new BreaksLinesTo(1))
              .withArrayIndenter(new BreaksLinesTo(2)));
      json.writeStartObject();
      json.writeStringField("suiteVersion", ConformanceRun.SUITE_VERSION);
      json.writeStringField("suiteHash", Suite.hash());
      json.writeNumberField("suiteCases", Suite.caseIds().size());
      json.writeStringField("weft", Artifact.of(Suite.class).version());
      json.writeBooleanField("complete", report.complete());
      json.writeBooleanField("passed", report.passed());
      json.writeStringField("started", report.start().toString());
      json.writeNumberField("salt", report.salt());
      json.writeArrayFieldStart("profiles");
      for (Profile profile : report.profiles()) {
        json.writeString(profile.name());
      }
      json.writeEndArray();
      json.writeArrayFieldStart("mandatory");
      for (Profile profile : report.mandatory()) {
        json.writeString(profile.name());
      }
      json.writeEndArray();
      json.writeArrayFieldStart("operations");
      for (String operation : report.operations()) {
        json.writeString(operation);
      }
      json.writeEndArray();
      device(json);
      json.writeObjectFieldStart("counts");
      for (CaseStatus status : CaseStatus.values()) {
        json.writeNumberField(status.name(), report.count(status));
      }
      json.writeEndObject();
      json.writeArrayFieldStart("cases");
      for (CaseOutcome outcome : report.outcomes()) {
        outcome(json, outcome);
      }
      json.writeEndArray();
      json.writeEndObject();
    }
    return text.append('\n').toString();
  }

  private void device(JsonGenerator json) throws IOException {
    DeviceDescriptor device = report.device().descriptor();
    json.writeObjectFieldStart("provider");
    json.writeStringField("id", report.device().providerId());
    json.writeStringField("class", report.providerClass());
    json.writeStringField("spi", report.device().spiVersion().toString());
    Artifact artifact = report.artifact();
    json.writeStringField("version", artifact.version());
    json.writeStringField("file", artifact.file());
    json.writeStringField("sha256", artifact.sha256());
    json.writeEndObject();
    json.writeObjectFieldStart("device");
    json.writeNumberField("index", device.index());
    json.writeStringField("name", device.name());
    json.writeStringField("kind", device.kind().name());
    json.writeStringField("vendor", device.vendor());
    json.writeStringField("driver", device.driver());
    json.writeBooleanField("graphs", device.graphs());
    json.writeObjectFieldStart("features");
    for (Map.Entry<String, String> feature : device.features().entrySet()) {
      json.writeStringField(feature.getKey(), feature.getValue());
    }
    json.writeEndObject();
    json.writeEndObject();
    json.writeStringField("jvm", ReportPage.jvm());
    json.writeStringField("os", ReportPage.os());
  }

  /**
   * Gives a line to each of the report's own fields and to each case, so that two can be compared.
   *
   * @param depth down to which what is nested begins a line
   */
  private record BreaksLinesTo(int depth) implements DefaultPrettyPrinter.Indenter {
    @Override
    public void writeIndentation(JsonGenerator json, int level) throws IOException {
      json.writeRaw(level <= depth ? "\n" + "  ".repeat(level) : " ");
    }

    @Override
    public boolean isInline() {
      return false;
    }
  }

  private static void outcome(JsonGenerator json, CaseOutcome outcome) throws IOException {
    ConformanceCase c = outcome.testCase();
    json.writeStartObject();
    json.writeStringField("id", c.id());
    json.writeStringField("operation", c.operation());
    json.writeStringField("dataType", c.dataType().text());
    json.writeStringField("feature", c.feature());
    json.writeStringField("family", c.family().text());
    json.writeArrayFieldStart("profiles");
    for (Profile profile : c.profiles()) {
      json.writeString(profile.name());
    }
    json.writeEndArray();
    json.writeStringField("status", outcome.status().name());
    // Not a number in JSON: what is infinitely wrong is told by the message.
    if (Double.isFinite(outcome.worst())) {
      json.writeNumberField("worstErrorOverAllowed", outcome.worst());
    }
    json.writeNumberField("millis", outcome.nanos() / 1e6);
    if (!outcome.message().isEmpty()) {
      json.writeStringField("message", outcome.message());
    }
    json.writeEndObject();
  }
}
