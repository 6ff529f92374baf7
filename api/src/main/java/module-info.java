/**
 * Weft's public interface ({@link dev.weft} and one package per operation) and the interface for
 * backend authors ({@link dev.weft.spi}).
 */
@org.jspecify.annotations.NullMarked
module dev.weft.api {
  requires static transitive org.jspecify;
  requires jdk.jfr;

  exports dev.weft;
  exports dev.weft.conv1d;
  exports dev.weft.interop;
  exports dev.weft.moba;
  exports dev.weft.moe;
  exports dev.weft.spi;

  uses dev.weft.spi.KernelProvider;
}
