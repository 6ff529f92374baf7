package dev.weft.backend.cpu.arithmetic;

/** Whether the module of the Vector API is there: it is only if the JVM was asked to add it. */
final class VectorModule {
  private VectorModule() {}

  static boolean isThere() {
    Module own = VectorModule.class.getModule();
    return ModuleLayer.boot().findModule("jdk.incubator.vector").filter(own::canRead).isPresent();
  }
}
