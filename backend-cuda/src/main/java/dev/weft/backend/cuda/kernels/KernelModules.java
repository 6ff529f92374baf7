package dev.weft.backend.cuda.kernels;

import dev.weft.BackendUnavailableException;
import dev.weft.backend.cuda.driver.Handles;
import dev.weft.backend.cuda.driver.Status;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import jcuda.driver.CUmodule;
import jcuda.driver.JCudaDriver;

/**
 * The images loaded on a device, each when first needed: machine code module by module, PTX kernel
 * by kernel, since the driver has to compile it. The caller has bound the context.
 */
public final class KernelModules {
  /** Architectures whose code can wait for the launch ahead; PTX is of an older one. */
  private static final Set<String> OVERLAPPING = Set.of("sm_90a", "sm_100");

  private static final String PTX = "ptx";

  private final KernelManifest manifest;
  private final List<String> preference;
  private final Map<String, Loaded> modules = new HashMap<>(); // machine code, by module
  private final List<CUmodule> alone = new ArrayList<>(); // kernels in PTX
  private final Map<String, String> architectures = new HashMap<>(); // by module, once known
  private final Map<String, KernelFunction> functions = new HashMap<>();

  private record Loaded(CUmodule module, String architecture) {}

  /**
   * Chooses images for a device.
   *
   * @param manifest what was built
   * @param major the compute capability's first digit
   * @param minor its second
   * @param ptxOnly whether to let the driver compile PTX even where there is machine code
   */
  public KernelModules(KernelManifest manifest, int major, int minor, boolean ptxOnly) {
    this.manifest = manifest;
    this.preference = preference(major, minor, ptxOnly);
  }

  /** The architectures whose code the device runs, best first; PTX is compiled by the driver. */
  static List<String> preference(int major, int minor, boolean ptxOnly) {
    List<String> names = new ArrayList<>();
    if (!ptxOnly) {
      if (major == 9 && minor == 0) {
        names.add("sm_90a");
      } else if (major == 8) {
        names.add("sm_80"); // machine code runs on later chips of the same major
      } else if (major == 10) {
        names.add("sm_100");
      }
    }
    names.add(PTX);
    return names;
  }

  /**
   * Finds a kernel, loading its module if need be. A machine code image that the driver refuses is
   * passed over for PTX.
   */
  public synchronized KernelFunction kernel(String name) {
    KernelManifest.Kernel kernel = manifest.kernels().get(name);
    if (kernel == null) {
      throw new IllegalStateException("no kernel " + name + " was built");
    }
    KernelFunction function = functions.get(name);
    if (function == null) {
      Loaded module = modules.get(kernel.module());
      if (module == null) {
        module = load(kernel);
      }
      Handles.Function handle = new Handles.Function();
      Status.check(
          "cuModuleGetFunction(" + name + ")",
          JCudaDriver.cuModuleGetFunction(handle, module.module, name));
      function =
          new KernelFunction(
              name, handle, kernel.parameterBytes(), OVERLAPPING.contains(module.architecture));
      functions.put(name, function);
    }
    return function;
  }

  /**
   * Finds a kernel of a module that is built for some architectures only.
   *
   * @return nothing where the build or the device has none of them, or the driver refuses the image
   */
  public synchronized Optional<KernelFunction> find(String name) {
    KernelManifest.Kernel kernel = manifest.kernels().get(name);
    if (kernel == null
        || manifest.architectures(kernel.module()).stream().noneMatch(preference::contains)) {
      return Optional.empty();
    }
    try {
      return Optional.of(kernel(name));
    } catch (BackendUnavailableException e) {
      return Optional.empty();
    }
  }

  /** The architecture whose image a module was loaded from, after its first kernel. */
  public synchronized String architecture(String module) {
    return architectures.getOrDefault(module, "");
  }

  private Loaded load(KernelManifest.Kernel kernel) {
    String module = kernel.module();
    StringBuilder refused = new StringBuilder();
    for (String architecture : preference) {
      if (!manifest.architectures(module).contains(architecture)
          || (architectures.getOrDefault(module, architecture).equals(PTX)
              && !architecture.equals(PTX))) { // the driver has refused it already
        continue;
      }
      byte[] image = manifest.image(module, architecture);
      CUmodule handle = new CUmodule();
      int code =
          architecture.equals(PTX)
              ? JCudaDriver.cuModuleLoadData(
                  handle,
                  PtxModule.only(kernel.name(), new String(image, StandardCharsets.US_ASCII)))
              : JCudaDriver.cuModuleLoadData(handle, image);
      if (code == Status.SUCCESS) {
        Loaded loaded = new Loaded(handle, architecture);
        architectures.put(module, architecture);
        if (architecture.equals(PTX)) {
          alone.add(handle);
        } else {
          modules.put(module, loaded);
        }
        return loaded;
      }
      if (!Status.isImageRefused(code)) {
        throw Status.failure("cuModuleLoadData(" + module + ", " + architecture + ")", code);
      }
      refused.append(refused.isEmpty() ? "" : "; ");
      refused.append(architecture).append(": ").append(Status.name(code));
    }
    throw new BackendUnavailableException(
        "cuda: no image of the kernels "
            + module
            + " fits this device (wanted "
            + preference
            + ", built "
            + manifest.architectures(module)
            + (refused.isEmpty() ? "" : ", refused " + refused)
            + "); update the NVIDIA driver, or build Weft for this architecture",
        null);
  }

  /** Unloads all; nothing is in flight. */
  public synchronized void close() {
    modules.values().forEach(loaded -> unload(loaded.module));
    alone.forEach(KernelModules::unload);
    modules.clear();
    alone.clear();
    functions.clear();
  }

  private static void unload(CUmodule module) {
    int ignored = JCudaDriver.cuModuleUnload(module); // the device goes either way
    assert ignored >= 0;
  }
}
