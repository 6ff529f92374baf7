/** Weft's providers and the chosen device, bound for Guice. */
@org.jspecify.annotations.NullMarked
module dev.weft.guice {
  requires transitive dev.weft.api;
  requires transitive com.google.guice;
  requires com.google.common;
  requires transitive jakarta.inject;

  exports dev.weft.guice;

  opens dev.weft.guice to
      com.google.guice;

  uses dev.weft.spi.KernelProvider;
}
