package dev.weft.cli.bench;

import java.util.List;
import java.util.Locale;

/** Measurements as one page with pictures, which needs nothing else to be looked at. */
public final class BenchPage {
  private static final int ROW = 26;
  private static final int LABEL = 320;
  private static final int BAR = 460;

  private BenchPage() {}

  /**
   * Draws a page.
   *
   * @param title what was measured on what
   * @param facts lines about the machine and the ceilings
   * @param ceilings of the same run
   * @param measurements what was measured
   * @return HTML
   */
  public static String html(
      String title, List<String> facts, Ceilings ceilings, List<Measurement> measurements) {
    StringBuilder page = new StringBuilder();
    page.append("<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n<title>")
        .append(escape(title))
        .append("</title>\n<style>\n")
        .append(
            "body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 64em; }\n")
        .append("table { border-collapse: collapse; } th, td { padding: 2px 12px 2px 0; }\n")
        .append("td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }\n")
        .append("th { text-align: left; border-bottom: 1px solid #888; }\n")
        .append("svg text { font: 13px system-ui, sans-serif; } code { font-size: 12px; }\n")
        .append("</style></head>\n<body>\n<h1>")
        .append(escape(title))
        .append("</h1>\n");
    for (String fact : facts) {
      page.append("<p>").append(escape(fact)).append("</p>\n");
    }
    page.append("<h2>Share of what the device could do</h2>\n<p>The least time that bytes and")
        .append(" operations need at the measured rates, over the time taken.</p>\n");
    bars(page, ceilings, measurements);
    page.append("<h2>Numbers</h2>\n");
    table(page, ceilings, measurements);
    return page.append("</body>\n</html>\n").toString();
  }

  private static void bars(StringBuilder page, Ceilings ceilings, List<Measurement> measurements) {
    int width = LABEL + BAR + 140;
    int height = ROW * measurements.size() + 10;
    page.append(
        String.format(
            Locale.ROOT,
            "<svg width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"share of the limit\">%n",
            width,
            height));
    int y = 0;
    for (Measurement m : measurements) {
      double share = Math.min(1, ceilings.limitNanos(m) / m.medianNanos());
      String colour = ceilings.limitedBy(m).equals("memory") ? "#3b7dd8" : "#d8773b";
      page.append(
          String.format(
              Locale.ROOT,
              "<text x=\"0\" y=\"%d\">%s</text><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\""
                  + " fill=\"#eee\"/><rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\""
                  + " fill=\"%s\"/><text x=\"%d\" y=\"%d\">%.1f %% of %s</text>%n",
              y + 17,
              escape(m.preset() + " " + m.type()),
              LABEL,
              y + 4,
              BAR,
              ROW - 8,
              LABEL,
              y + 4,
              Math.max(1, share * BAR),
              ROW - 8,
              colour,
              LABEL + BAR + 8,
              y + 17,
              share * 100,
              ceilings.limitedBy(m)));
      y += ROW;
    }
    page.append("</svg>\n");
  }

  private static void table(StringBuilder page, Ceilings ceilings, List<Measurement> measurements) {
    page.append("<table><tr><th>case</th><th>type</th><th class=\"n\">median ms</th>")
        .append("<th class=\"n\">p10 ms</th><th class=\"n\">p90 ms</th>")
        .append("<th class=\"n\">limit ms</th><th class=\"n\">graph ms</th>")
        .append("<th class=\"n\">copy ms</th><th class=\"n\">over copy</th>")
        .append("<th class=\"n\">host µs</th><th class=\"n\">launches</th>")
        .append("<th class=\"n\">GFLOP/s</th><th class=\"n\">GB/s</th>")
        .append("<th class=\"n\">runs</th><th>note</th></tr>\n");
    for (Measurement m : measurements) {
      page.append("<tr><td title=\"").append(escape(m.spec())).append("\">");
      page.append(escape(m.preset())).append("</td><td>").append(escape(m.type()));
      page.append("</td>");
      number(page, m.medianNanos() / 1e6);
      number(page, m.p10Nanos() / 1e6);
      number(page, m.p90Nanos() / 1e6);
      number(page, ceilings.limitNanos(m) / 1e6);
      number(page, m.graphNanos() / 1e6);
      number(page, m.copyNanos() / 1e6);
      number(page, m.overCopy());
      number(page, m.hostNanos() / 1e3);
      page.append("<td class=\"n\">").append(m.launches() < 0 ? "" : m.launches()).append("</td>");
      number(page, m.flopsPerSecond() / 1e9);
      number(page, m.bytesPerSecond() / 1e9);
      page.append("<td class=\"n\">").append(m.runs()).append("</td><td>");
      page.append(escape(m.note())).append("</td></tr>\n");
    }
    page.append("</table>\n");
  }

  private static void number(StringBuilder page, double value) {
    page.append("<td class=\"n\">")
        .append(Double.isNaN(value) ? "" : String.format(Locale.ROOT, "%.4g", value));
    page.append("</td>");
  }

  private static String escape(String text) {
    return text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("\"", "&quot;");
  }
}
