package dev.weft.cli;

import dev.weft.DiscoveryReport;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.Probe;
import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/** Devices, and backends without one, as tables. */
final class BackendTables {
  private BackendTables() {}

  static void print(List<DiscoveryReport.Entry> entries, PrintWriter out) {
    TextTable devices =
        new TextTable()
            .text("DEVICE")
            .number("PRIORITY")
            .text("KIND")
            .number("UNITS")
            .number("MEMORY")
            .text("GRAPHS")
            .text("NAME");
    boolean any = false;
    for (DiscoveryReport.Entry entry : entries) {
      for (DeviceDescriptor device : entry.devices()) {
        any = true;
        devices.row(
            entry.id() + ":" + device.index(),
            Integer.toString(entry.priority()),
            device.kind().name().toLowerCase(Locale.ROOT),
            device.computeUnits() == 0 ? "?" : Integer.toString(device.computeUnits()),
            device.memoryBytes() == 0 ? "?" : Units.bytes(device.memoryBytes()),
            device.graphs() ? "yes" : "no",
            device.name());
      }
    }
    if (any) {
      devices.print(out);
    } else {
      out.println("No device.");
    }
    features(entries, out);
    unavailable(entries, out);
  }

  private static void features(List<DiscoveryReport.Entry> entries, PrintWriter out) {
    TextTable table = new TextTable().text("DEVICE").text("FEATURES");
    boolean any = false;
    for (DiscoveryReport.Entry entry : entries) {
      for (DeviceDescriptor device : entry.devices()) {
        String text = text(device);
        if (!text.isEmpty()) {
          any = true;
          table.row(entry.id() + ":" + device.index(), text);
        }
      }
    }
    if (any) {
      out.println();
      table.print(out);
    }
  }

  private static String text(DeviceDescriptor device) {
    String features =
        device.features().entrySet().stream()
            .map((Map.Entry<String, String> e) -> e.getKey() + ": " + e.getValue())
            .collect(Collectors.joining("; "));
    String driver = device.driver().isEmpty() ? "" : "driver: " + device.driver();
    return driver.isEmpty() || features.isEmpty() ? driver + features : driver + "; " + features;
  }

  private static void unavailable(List<DiscoveryReport.Entry> entries, PrintWriter out) {
    for (DiscoveryReport.Entry entry : entries) {
      if (entry.probe() instanceof Probe.Unavailable unavailable) {
        out.println();
        out.println("Not available: " + entry.id() + " (" + entry.className() + ")");
        if (!entry.location().isEmpty()) {
          out.println("  from:   " + entry.location());
        }
        out.println("  why:    " + unavailable.reason());
        out.println("  remedy: " + unavailable.remedy());
      }
    }
  }
}
