package dev.weft.conformance;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
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
    try (JsonGenerator json =
        JsonFactory.builder().build().createGenerator(text).useDefaultPrettyPrinter()) {
      json.writeStartObject();
      json.writeStringField("suiteVersion", ConformanceRun.SUITE_VERSION);
      json.writeBooleanField("passed", report.passed());
      json.writeStringField("started", report.start().toString());
      json.writeNumberField("salt", report.salt());
      json.writeArrayFieldStart("profiles");
      for (Profile profile : report.profiles()) {
        json.writeString(profile.name());
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
