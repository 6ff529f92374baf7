package dev.weft.cli;

import dev.weft.conformance.Certificate;
import jakarta.inject.Inject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;

/** Checks a conformance certificate against its report. */
@Command(
    name = "certificate",
    description = {
      "Check a conformance certificate against its report: was either changed?",
      "",
      "'weft verify --report DIR' writes both: ID.md is the certificate, ID.json the report.",
      ""
    })
final class CertificateCommand implements Callable<Integer> {
  private final Console console;

  @Parameters(index = "0", paramLabel = "CERTIFICATE.md", description = "The certificate.")
  @Nullable Path certificate;

  @Parameters(
      index = "1",
      arity = "0..1",
      paramLabel = "REPORT.json",
      description = "Its report. Default: the file beside it, with .json in the place of .md.")
  @Nullable Path report;

  @Inject
  CertificateCommand(Console console) {
    this.console = console;
  }

  @Override
  public Integer call() throws IOException {
    Path page = certificate;
    if (page == null) {
      throw new IllegalArgumentException("certificate: expected a file");
    }
    Path json = report;
    if (json == null) {
      String name = String.valueOf(page.getFileName());
      json = page.resolveSibling(name.replaceFirst("[.]md$", "") + ".json");
    }
    String text = Files.readString(page);
    String reportText = Files.readString(json);
    List<String> problems = Certificate.check(text, reportText);
    problems.forEach(problem -> console.out().println(problem));
    if (!problems.isEmpty()) {
      console.out().println("\nNOT VALID: " + page + " is not the certificate of " + json);
      return ExitCode.WRONG;
    }
    console.out().println(text.lines().findFirst().orElse("").replaceFirst("^# ", ""));
    console
        .out()
        .println(
            Certificate.isOfThisSuite(reportText)
                ? "The suite that made it is the one in use here."
                : "Made by another build of the suite, so its list of cases was not checked.");
    console.out().println("VALID: " + page + " is the certificate of " + json);
    return ExitCode.GOOD;
  }
}
