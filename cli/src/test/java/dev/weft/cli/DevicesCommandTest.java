package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class DevicesCommandTest {
  @Test
  void everyDeviceIsListedAndEveryBackendWithoutOneSaysWhy() {
    CommandLineRun run = CommandLineRun.of(UnavailableProvider::besideTheRest, "devices");
    assertEquals(0, run.code(), run::toString);
    run.wrote("\ncpu:0 ");
    run.wrote("\nreference:0 ");
    run.wrote("Not available: gone");
    run.wrote("why:    libgone.so.1 was not found");
    run.wrote("remedy: install the gone driver");
    run.isPlain();
  }

  @Test
  void theColumnsAreAligned() {
    CommandLineRun run = CommandLineRun.of("devices");
    int at = run.out().lines().findFirst().orElseThrow().indexOf("NAME");
    for (String line : run.out().lines().takeWhile(l -> !l.isBlank()).toList()) {
      assertEquals(' ', line.charAt(at - 1), line);
      assertTrue(line.charAt(at) != ' ', line);
    }
  }

  @Test
  void oneBackendCanBeAskedFor() {
    CommandLineRun run = CommandLineRun.of("devices", "--backend", "cpu");
    assertEquals(0, run.code());
    assertFalse(run.out().contains("reference"), run.out());
  }

  @Test
  void noDeviceIsUnavailable() {
    CommandLineRun run = CommandLineRun.of(UnavailableProvider::alone, "devices");
    assertEquals(3, run.code());
    run.wrote("No device.");
  }

  @Test
  void jsonTellsTheSame() {
    CommandLineRun run = CommandLineRun.of(UnavailableProvider::besideTheRest, "devices", "--json");
    assertEquals(0, run.code());
    CommandLineRun.parses(run.out());
    run.wrote("\"device\" : \"cpu:0\"");
    run.wrote("\"remedy\" : \"install the gone driver\"");
  }

  @Test
  void theDoctorTriesEveryDeviceAndSaysWhatToDo() {
    CommandLineRun run = CommandLineRun.of(UnavailableProvider::besideTheRest, "doctor");
    assertEquals(0, run.code(), run::toString);
    run.wrote("cpu:0 opened and copied a tensor there and back");
    run.wrote("reference:0 opened and copied a tensor there and back");
    run.wrote("What to do");
    run.wrote("- gone: libgone.so.1 was not found; install the gone driver");
    run.wrote("Vector API");
    run.isPlain();
  }

  @Test
  void theDoctorFailsWhereNothingWorks() {
    CommandLineRun run = CommandLineRun.of(UnavailableProvider::alone, "doctor");
    assertEquals(3, run.code());
    run.wrote("install the gone driver");
  }
}
