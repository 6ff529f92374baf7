package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.BackendUnavailableException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.Test;

class FailuresTest {
  @Test
  void everyKindOfFailureHasItsCode() {
    assertEquals(2, Failures.exitCode(new IllegalArgumentException("x")));
    assertEquals(2, Failures.exitCode(new UncheckedIOException(new IOException("x"))));
    assertEquals(3, Failures.exitCode(new BackendUnavailableException("x", null)));
    assertEquals(
        3, Failures.exitCode(new ExecutionException(new BackendUnavailableException("x", null))));
    assertEquals(3, Failures.exitCode(new OutOfMemoryError("Java heap space")));
    assertEquals(1, Failures.exitCode(new IllegalStateException("x")));
    assertEquals(1, Failures.exitCode(new AssertionError("x")));
  }

  @Test
  void aMessageIsOneLine() {
    String text =
        Failures.describe(new IllegalArgumentException("q: expected\n  [1]\nbut was [2]"));
    assertEquals("q: expected [1] but was [2]", text);
    assertFalse(Failures.describe(new IllegalStateException("a\nb")).contains("\n"));
  }

  @Test
  void whatIsOurFaultSaysSo() {
    String text = Failures.describe(new IllegalStateException("x"));
    assertTrue(text.startsWith("internal error, please report it"), text);
  }

  @Test
  void theFileIsNamedOnce() {
    Path file = Path.of("folder", "a.safetensors");
    Throwable named = new IllegalArgumentException("folder/a.safetensors: truncated");
    assertEquals("folder/a.safetensors: truncated", Failures.describe(Failures.about(file, named)));
    Throwable unnamed = new IllegalStateException("x");
    assertTrue(
        Failures.describe(Failures.about(file, unnamed)).startsWith("folder"),
        "the file comes first");
    assertEquals(1, Failures.exitCode(Failures.about(file, unnamed)));
    assertEquals(
        "a.safetensors: no such file or folder",
        Failures.describe(new NoSuchFileException("a.safetensors")));
  }
}
