/** A backend exports nothing: it is reached by the service loader, or not at all. */
@org.jspecify.annotations.NullMarked
module com.example.weft {
  requires dev.weft.api;

  provides dev.weft.spi.KernelProvider with
      com.example.weft.ExampleProvider;
}
