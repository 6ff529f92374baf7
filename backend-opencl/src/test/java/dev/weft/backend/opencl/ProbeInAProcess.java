package dev.weft.backend.opencl;

import dev.weft.spi.Probe;

/** Prints what the provider finds. */
final class ProbeInAProcess {
  private ProbeInAProcess() {}

  public static void main(String[] arguments) {
    switch (new OpenClProvider().probe()) {
      case Probe.Available found -> System.out.println("found " + found.devices());
      case Probe.Unavailable none ->
          System.out.println("none: " + none.reason() + "; " + none.remedy());
    }
  }
}
