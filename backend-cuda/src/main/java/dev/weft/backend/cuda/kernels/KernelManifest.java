package dev.weft.backend.cuda.kernels;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * What the build compiled. A text resource of lines with fields between tabs; the order does not
 * matter:
 *
 * <pre>
 * image      MODULE  ARCHITECTURE                   there is MODULE.ARCHITECTURE.cubin, or MODULE.ptx
 * kernel     MODULE  NAME  PARAMETER_BYTES
 * resources  ARCHITECTURE  NAME  REGISTERS  SHARED_BYTES  SPILL_STORES  SPILL_LOADS
 * </pre>
 *
 * A build without nvcc leaves none of these lines.
 */
public final class KernelManifest {
  /** Where the images lie. */
  private static final String FOLDER = "/dev/weft/backend/cuda/";

  private final Function<String, byte @Nullable []> files;
  private final Map<String, Set<String>> architectures = new LinkedHashMap<>();
  private final Map<String, Kernel> kernels = new LinkedHashMap<>();
  private final List<Resources> resources = new ArrayList<>();

  /** A kernel's module and the size of its argument structure. */
  public record Kernel(String module, String name, int parameterBytes) {}

  /** What the assembler gave a kernel on one architecture. */
  public record Resources(
      String architecture,
      String name,
      int registers,
      int sharedBytes,
      int spillStores,
      int spillLoads) {}

  private KernelManifest(Function<String, byte @Nullable []> files) {
    this.files = files;
    byte[] text = files.apply("kernels.txt");
    List<String> lines =
        text == null ? List.of() : new String(text, StandardCharsets.UTF_8).lines().toList();
    for (String line : lines) {
      String[] f = line.split("\t", -1);
      switch (f[0]) {
        case "image" -> architectures.computeIfAbsent(f[1], m -> new TreeSet<>()).add(f[2]);
        case "kernel" -> kernels.put(f[2], new Kernel(f[1], f[2], Integer.parseInt(f[3])));
        case "resources" ->
            resources.add(
                new Resources(
                    f[1],
                    f[2],
                    Integer.parseInt(f[3]),
                    Integer.parseInt(f[4]),
                    Integer.parseInt(f[5]),
                    Integer.parseInt(f[6])));
        default -> {} // a remark
      }
    }
  }

  /** Reads the manifest of this build. */
  public static KernelManifest read() {
    return of(KernelManifest::resource);
  }

  /**
   * Reads a manifest.
   *
   * @param files its folder: the bytes of a file, or null where there is none of that name
   */
  static KernelManifest of(Function<String, byte @Nullable []> files) {
    return new KernelManifest(files);
  }

  /** Whether this was built without nvcc. */
  public boolean isEmpty() {
    return architectures.isEmpty();
  }

  /** The architectures that a module was compiled for, {@code ptx} among them. */
  public Set<String> architectures(String module) {
    return architectures.getOrDefault(module, Set.of());
  }

  /** All modules. */
  public Set<String> modules() {
    return architectures.keySet();
  }

  /** All kernels, by name. */
  public Map<String, Kernel> kernels() {
    return kernels;
  }

  /** What the assembler said, kernel by kernel. */
  public List<Resources> resources() {
    return resources;
  }

  /** The bytes of an image. */
  byte[] image(String module, String architecture) {
    String name =
        architecture.equals("ptx") ? module + ".ptx" : module + "." + architecture + ".cubin";
    byte[] image = files.apply(name);
    if (image == null) {
      throw new IllegalStateException(FOLDER + name + " is in the manifest, but not in the jar");
    }
    return image;
  }

  /** A file of this build. */
  static byte @Nullable [] resource(String name) {
    try (InputStream in = KernelManifest.class.getResourceAsStream(FOLDER + name)) {
      return in == null ? null : in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
