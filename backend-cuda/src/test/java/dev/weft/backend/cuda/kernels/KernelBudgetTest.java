package dev.weft.backend.cuda.kernels;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.zip.Deflater;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** How many kernels there may be, and how large the jar gets by them. Needs no GPU. */
class KernelBudgetTest {
  private static final int MOST_KERNELS = 250;

  /** Of a jar of 16 MiB; the rest is for classes. */
  private static final long MOST_BYTES = 15L << 20;

  private final KernelManifest manifest = KernelManifest.read();

  @BeforeEach
  void thereAreKernels() {
    Assumptions.assumeFalse(manifest.isEmpty(), "built without nvcc: there are no images");
  }

  @Test
  void everyArchitectureHasAtMost250Kernels() {
    Map<String, Set<String>> kernels = new HashMap<>();
    for (KernelManifest.Kernel kernel : manifest.kernels().values()) {
      for (String architecture : manifest.architectures(kernel.module())) {
        kernels.computeIfAbsent(architecture, a -> new HashSet<>()).add(kernel.name());
      }
    }
    kernels.forEach((architecture, names) ->
        assertTrue(names.size() <= MOST_KERNELS, architecture + " has " + names.size()));
  }

  @Test
  void everyImageIsInTheJarAndAllOfThemAreSmall() {
    long bytes = 0;
    for (String module : manifest.modules()) {
      for (String architecture : manifest.architectures(module)) {
        bytes += compressed(manifest.image(module, architecture));
      }
    }
    assertTrue(bytes > 0 && bytes <= MOST_BYTES, bytes + " bytes of images");
  }

  private static long compressed(byte[] image) {
    byte[] ignored = new byte[1 << 16];
    try (Deflater deflater = new Deflater(Deflater.DEFAULT_COMPRESSION, true)) {
      deflater.setInput(image);
      deflater.finish();
      while (!deflater.finished()) {
        deflater.deflate(ignored);
      }
      return deflater.getBytesWritten();
    }
  }

  /** Launches take what this says: one structure, which a driver limits to 4 KB. */
  @Test
  void argumentStructuresFitALaunch() {
    for (KernelManifest.Kernel kernel : manifest.kernels().values()) {
      assertTrue(kernel.parameterBytes() <= 4096, kernel.toString());
    }
  }
}
