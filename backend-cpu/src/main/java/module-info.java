/** The CPU providers: {@code reference}, the oracle, and {@code cpu}, on all cores. */
@org.jspecify.annotations.NullMarked
module dev.weft.backend.cpu {
  requires dev.weft.api;
  // How much memory the machine has.
  requires java.management;
  requires jdk.management;
  // Static: without --add-modules jdk.incubator.vector the provider runs its scalar path.
  requires static jdk.incubator.vector;

  provides dev.weft.spi.KernelProvider with
      dev.weft.backend.cpu.ReferenceProvider,
      dev.weft.backend.cpu.CpuProvider;
}
