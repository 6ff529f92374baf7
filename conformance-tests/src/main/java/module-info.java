/** The conformance suite: any backend's tests extend one class of it. */
@org.jspecify.annotations.NullMarked
module dev.weft.conformance {
  requires transitive dev.weft.api;
  requires dev.weft.backend.cpu;
  requires transitive org.junit.jupiter.api;
  requires com.fasterxml.jackson.core;
  requires java.xml;

  exports dev.weft.conformance;
  exports dev.weft.conformance.conv1d;
  exports dev.weft.conformance.vectors;

  // JUnit reaches the test factory by reflection; closed, it runs no case and reports none failed.
  opens dev.weft.conformance to
      org.junit.platform.commons;

  uses dev.weft.spi.KernelProvider;
}
