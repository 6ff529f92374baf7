package dev.weft.product;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.product.Processes.Ended;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

/**
 * The same sources, built again in another folder by another process, give the same bytes. Without
 * backend-cuda, whose kernels take nvcc minutes, and so without the command, which packs it.
 */
class ReproducibleJarsIT {
  private static final List<String> MODULES =
      List.of(
          "bom",
          "api",
          "backend-cpu",
          "conformance-tests",
          "gpu-host",
          "backend-opencl",
          "backend-vulkan",
          "guice");

  @Test
  void aSecondBuildGivesTheSameBytes() throws IOException, InterruptedException {
    Path again = Processes.WORK.resolve("again");
    Processes.delete(again);
    Files.createDirectories(again);
    Files.writeString(
        again.resolve("pom.xml"),
        Files.readString(Processes.ROOT.resolve("pom.xml"))
            .replaceAll("<module>(backend-cuda|cli|product-tests)</module>", "")
            // The checks have been passed and cost minutes; only the bytes are asked for.
            .replaceAll("<arg>-Xplugin:ErrorProne[^<]*</arg>", "<arg>-parameters</arg>"));
    Processes.copy(Processes.ROOT.resolve(".mvn"), again.resolve(".mvn"));
    for (String module : MODULES) {
      Processes.copy(Processes.ROOT.resolve(module), again.resolve(module));
    }
    Ended build =
        Processes.maven(
            again,
            "-Dmaven.test.skip=true",
            "-Dspotless.check.skip=true",
            "-Denforcer.skip=true",
            "package");
    assertEquals(0, build.code(), build::text);
    assertEquals(jars(Processes.ROOT), jars(again));
  }

  /** Jars by name with the hash of their bytes. */
  private static Map<String, String> jars(Path root) throws IOException {
    Map<String, String> jars = new TreeMap<>();
    for (String module : MODULES) {
      Path jar =
          root.resolve(module).resolve("target/weft-" + module + '-' + Processes.VERSION + ".jar");
      if (!module.equals("bom")) {
        jars.put(module, sha256(Files.readAllBytes(jar)));
      }
    }
    return jars;
  }

  private static String sha256(byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
