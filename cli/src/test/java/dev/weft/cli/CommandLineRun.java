package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import dev.weft.DiscoveryReport;
import dev.weft.Weft;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.function.Supplier;

/** What a run of the command in this process wrote, and how it ended. */
record CommandLineRun(int code, String out, String err) {
  static CommandLineRun of(String... arguments) {
    return of(Weft::discover, arguments);
  }

  static CommandLineRun of(Supplier<DiscoveryReport> discovery, String... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    Console console = new Console(new PrintWriter(out), new PrintWriter(err), false);
    int code = Main.run(discovery, console, arguments);
    return new CommandLineRun(code, out.toString(), err.toString());
  }

  List<String> errLines() {
    return err.lines().toList();
  }

  /** The code, nothing on the other stream, and one line of error that names all these. */
  void failedWithOneLine(int expected, String... parts) {
    assertEquals(expected, code, this::toString);
    assertEquals("", out);
    assertEquals(1, errLines().size(), err);
    namesOnLine(0, parts);
  }

  void namesOnLine(int line, String... parts) {
    String text = errLines().get(line);
    assertTrue(text.startsWith("weft: "), text);
    for (String part : parts) {
      assertTrue(text.contains(part), "'" + part + "' in: " + text);
    }
  }

  /** Nothing but what a file or a pipe can take. */
  void isPlain() {
    assertFalse(out.contains("\u001b") || out.contains("\r"), out);
    assertFalse(err.contains("\u001b") || err.contains("\r"), err);
  }

  void wrote(String part) {
    assertTrue(out.contains(part), () -> "'" + part + "' in: " + this);
  }

  /** Fails unless the text is one JSON value. */
  static void parses(String json) {
    try (JsonParser parser = new JsonFactory().createParser(json)) {
      assertTrue(parser.nextToken() != null, "empty");
      parser.skipChildren();
      assertEquals(null, parser.nextToken(), "something follows the value");
    } catch (IOException e) {
      throw new AssertionError(json, e);
    }
  }
}
