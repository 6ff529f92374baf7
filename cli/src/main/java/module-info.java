/** The weft command. */
@org.jspecify.annotations.NullMarked
module dev.weft.cli {
  requires dev.weft.api;
  requires dev.weft.guice;
  requires dev.weft.conformance;
  requires com.fasterxml.jackson.core;
  requires com.google.guice;
  requires info.picocli;
  requires jakarta.inject;
  requires java.management;
  requires jdk.management;
  requires me.tongfei.progressbar;

  opens dev.weft.cli to
      com.google.guice,
      info.picocli,
      org.junit.platform.commons;

  uses dev.weft.spi.KernelProvider;
}
