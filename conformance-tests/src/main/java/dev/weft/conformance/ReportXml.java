package dev.weft.conformance;

import java.io.IOException;
import java.io.StringWriter;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import javax.xml.stream.XMLOutputFactory;
import javax.xml.stream.XMLStreamException;
import javax.xml.stream.XMLStreamWriter;

/**
 * A report as build servers read it: a {@code testsuite} for each operation, a {@code testcase} for
 * each case. What is unsupported, waived or not run is skipped, with its reason.
 */
final class ReportXml {
  private final ConformanceReport report;

  ReportXml(ConformanceReport report) {
    this.report = report;
  }

  String text() throws IOException {
    Map<String, List<CaseOutcome>> operations =
        report.outcomes().stream()
            .collect(
                Collectors.groupingBy(
                    o -> o.testCase().operation(), LinkedHashMap::new, Collectors.toList()));
    StringWriter text = new StringWriter();
    try {
      XMLStreamWriter xml = XMLOutputFactory.newInstance().createXMLStreamWriter(text);
      xml.writeStartDocument("UTF-8", "1.0");
      xml.writeCharacters("\n");
      xml.writeStartElement("testsuites");
      xml.writeAttribute("name", "Weft conformance: " + legal(report.device().selector()));
      totals(xml, report.outcomes());
      xml.writeCharacters("\n");
      for (Map.Entry<String, List<CaseOutcome>> operation : operations.entrySet()) {
        suite(xml, operation.getKey(), operation.getValue());
      }
      xml.writeEndElement();
      xml.writeEndDocument();
      xml.close();
    } catch (XMLStreamException e) {
      throw new IOException("the report cannot be written as XML: " + e.getMessage(), e);
    }
    return text.append('\n').toString();
  }

  private void suite(XMLStreamWriter xml, String operation, List<CaseOutcome> outcomes)
      throws XMLStreamException {
    xml.writeStartElement("testsuite");
    xml.writeAttribute("name", legal(operation));
    totals(xml, outcomes);
    xml.writeAttribute("timestamp", report.start().toString());
    xml.writeCharacters("\n");
    for (CaseOutcome outcome : outcomes) {
      xml.writeStartElement("testcase");
      xml.writeAttribute("classname", legal(report.device().providerId() + '.' + operation));
      xml.writeAttribute("name", legal(outcome.testCase().id()));
      xml.writeAttribute("time", seconds(outcome.nanos()));
      switch (outcome.status()) {
        case PASS -> {}
        case FAIL -> {
          xml.writeStartElement("failure");
          xml.writeAttribute("message", legal(outcome.message().lines().findFirst().orElse("")));
          xml.writeCharacters(legal(outcome.message()));
          xml.writeEndElement();
        }
        case UNSUPPORTED, WAIVED, NOT_RUN -> {
          xml.writeEmptyElement("skipped");
          xml.writeAttribute("message", outcome.status() + ": " + legal(outcome.message()));
        }
      }
      xml.writeEndElement();
      xml.writeCharacters("\n");
    }
    xml.writeEndElement();
    xml.writeCharacters("\n");
  }

  private static void totals(XMLStreamWriter xml, List<CaseOutcome> outcomes)
      throws XMLStreamException {
    long failures = outcomes.stream().filter(o -> o.status() == CaseStatus.FAIL).count();
    long passed = outcomes.stream().filter(o -> o.status() == CaseStatus.PASS).count();
    xml.writeAttribute("tests", Integer.toString(outcomes.size()));
    xml.writeAttribute("failures", Long.toString(failures));
    xml.writeAttribute("errors", "0");
    xml.writeAttribute("skipped", Long.toString(outcomes.size() - failures - passed));
    xml.writeAttribute("time", seconds(outcomes.stream().mapToLong(CaseOutcome::nanos).sum()));
  }

  private static String seconds(long nanos) {
    return String.format(Locale.ROOT, "%.3f", nanos / 1e9);
  }

  /** XML has no way to write most control characters, and a provider's messages may hold any. */
  private static String legal(String text) {
    StringBuilder legal = new StringBuilder(text.length());
    text.codePoints().map(c -> isXml(c) ? c : 0xfffd).forEach(legal::appendCodePoint);
    return legal.toString();
  }

  private static boolean isXml(int c) {
    return c == '\t'
        || c == '\n'
        || c == '\r'
        || (c >= 0x20 && c <= 0xd7ff)
        || (c >= 0xe000 && c <= 0xfffd)
        || c >= 0x10000;
  }
}
