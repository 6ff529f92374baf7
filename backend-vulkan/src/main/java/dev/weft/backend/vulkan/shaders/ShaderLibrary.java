package dev.weft.backend.vulkan.shaders;

import dev.weft.gpu.KernelName;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/** The SPIR-V modules that a build left in a folder of resources. Immutable. */
public final class ShaderLibrary {
  private final Class<?> owner;
  private final String folder;
  private final List<ShaderModule> modules;

  private ShaderLibrary(Class<?> owner, String folder, List<ShaderModule> modules) {
    this.owner = owner;
    this.folder = folder;
    this.modules = modules;
  }

  /** The backend's own shaders. */
  public static ShaderLibrary ofBackend() {
    return in(ShaderLibrary.class, "/dev/weft/backend/vulkan/spirv");
  }

  /**
   * Those in another folder.
   *
   * @param owner a class of the module that the folder is in
   * @param folder an absolute name of resources
   */
  public static ShaderLibrary in(Class<?> owner, String folder) {
    String index = new String(read(owner, folder + "/index.txt"), StandardCharsets.UTF_8);
    return new ShaderLibrary(owner, folder, index.lines().map(ShaderModule::of).toList());
  }

  private static byte[] read(Class<?> owner, String name) {
    try (InputStream in = owner.getResourceAsStream(name)) {
      if (in == null) {
        throw new IllegalStateException("the resource " + name + " is missing");
      }
      return in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Whether a kernel was compiled. */
  public boolean has(KernelName name) {
    return find(name).isPresent();
  }

  /** The module of a kernel: that whose own constants are all as the name has them. */
  ShaderModule module(KernelName name) {
    return find(name)
        .orElseThrow(() -> new IllegalStateException("no shader was compiled for " + name));
  }

  private Optional<ShaderModule> find(KernelName name) {
    for (ShaderModule module : modules) {
      if (module.source().equals(name.source())
          && module.function().equals(name.function())
          && fits(module, name)) {
        return Optional.of(module);
      }
    }
    return Optional.empty();
  }

  /** Every constant of the name is compiled in with its value, or a specialisation constant. */
  private static boolean fits(ShaderModule module, KernelName name) {
    Map<String, Integer> open = new HashMap<>(name.constants());
    for (Map.Entry<String, Integer> constant : module.compiled().entrySet()) {
      if (!constant.getValue().equals(open.remove(constant.getKey()))) {
        return false;
      }
    }
    return module.specialised().keySet().containsAll(open.keySet());
  }

  /** The values of specialisation constants, by id. */
  static Map<Integer, Integer> specialisation(ShaderModule module, KernelName name) {
    Map<Integer, Integer> values = new TreeMap<>();
    module
        .specialised()
        .forEach((constant, id) -> {
          Integer value = name.constants().get(constant);
          if (value != null) {
            values.put(id, value);
          }
        });
    return values;
  }

  byte[] spirv(ShaderModule module) {
    return read(owner, folder + "/" + module.file());
  }
}
