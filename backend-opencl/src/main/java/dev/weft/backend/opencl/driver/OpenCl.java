package dev.weft.backend.opencl.driver;

import dev.weft.gpu.NotUsableException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.stream.Stream;
import org.jocl.CL;
import org.jocl.cl_device_id;
import org.jocl.cl_platform_id;

/** The loaded ICD loader, and the devices of its platforms. Loading twice is harmless. */
public final class OpenCl {
  private static final String LIBRARY = "libOpenCL.so.1";

  private final Calls calls;
  private final List<DeviceProperties> devices;
  private final List<String> refused;

  private OpenCl(Calls calls, List<DeviceProperties> devices, List<String> refused) {
    this.calls = calls;
    this.devices = List.copyOf(devices);
    this.refused = List.copyOf(refused);
  }

  /**
   * Loads the ICD loader, then JOCL's library for it, and asks all platforms for their devices.
   *
   * @throws NotUsableException if there is no loader, no platform, or no device that can be used
   */
  public static OpenCl load() throws NotUsableException {
    return load(LIBRARY);
  }

  @SuppressWarnings("restricted") // loading OpenCL is what this is for
  static OpenCl load(String library) throws NotUsableException {
    SymbolLookup symbols;
    try {
      // First the loader alone: a failed static initialiser of JOCL could not be tried again.
      symbols = SymbolLookup.libraryLookup(library, Arena.global());
    } catch (IllegalArgumentException e) {
      throw new NotUsableException(
          "the OpenCL ICD loader " + library + " was not found",
          "install it (Debian: apt-get install ocl-icd-libopencl1) and a driver for the device"
              + " (pocl-opencl-icd for the CPU), or put the folder of "
              + library
              + " on the library path (LD_LIBRARY_PATH)",
          null);
    } catch (IllegalCallerException e) {
      throw new NotUsableException(
          "native access is not allowed to Weft's OpenCL backend",
          "start java with --enable-native-access=ALL-UNNAMED (class path), or"
              + " dev.weft.backend.opencl,jocl (module path)",
          e);
    }
    Calls calls;
    try {
      loadJocl();
      calls = new Calls(symbols);
    } catch (IOException | LinkageError e) {
      throw new NotUsableException(
          "JOCL's native library could not be loaded: " + firstLine(e),
          "use Linux on x86-64 or arm64, and a temporary folder that may hold executable files",
          e);
    } catch (NoSuchElementException e) {
      throw new NotUsableException(
          "the OpenCL ICD loader is older than OpenCL 1.2: " + e.getMessage(),
          "install a current one (Debian: apt-get install ocl-icd-libopencl1)",
          e);
    }
    List<String> refused = new ArrayList<>();
    List<DeviceProperties> devices = devices(refused);
    if (devices.isEmpty()) {
      throw new NotUsableException(
          refused.isEmpty()
              ? "no OpenCL platform has a device"
              : "no OpenCL device can be used: " + String.join("; ", refused),
          "check what clinfo says, that the process may open /dev/dri/* or /dev/nvidia*, or install"
              + " a driver for the CPU (Debian: apt-get install pocl-opencl-icd)",
          null);
    }
    return new OpenCl(calls, devices, refused);
  }

  /**
   * The devices that can be used: GPUs, then accelerators, then CPUs, each in the loader's order.
   */
  public List<DeviceProperties> devices() {
    return devices;
  }

  /** Devices that cannot be used, and why. */
  public List<String> refused() {
    return refused;
  }

  /** Calls by raw handles. */
  public Calls calls() {
    return calls;
  }

  private static List<DeviceProperties> devices(List<String> refused) throws NotUsableException {
    int[] count = new int[1];
    int code = CL.clGetPlatformIDs(0, null, count);
    if (code == Status.PLATFORM_NOT_FOUND || (code == Status.SUCCESS && count[0] == 0)) {
      throw new NotUsableException(
          "the OpenCL ICD loader finds no platform",
          "install a driver (for the CPU, Debian: apt-get install pocl-opencl-icd), and check"
              + " /etc/OpenCL/vendors and the variable OCL_ICD_VENDORS",
          null);
    }
    if (code != Status.SUCCESS) {
      throw new NotUsableException(
          "clGetPlatformIDs failed with " + Status.name(code) + " (" + code + ")",
          "check what clinfo says",
          null);
    }
    cl_platform_id[] platforms = new cl_platform_id[count[0]];
    Status.check("clGetPlatformIDs", CL.clGetPlatformIDs(count[0], platforms, null));
    List<DeviceProperties> devices = new ArrayList<>();
    for (cl_platform_id platform : platforms) {
      code = CL.clGetDeviceIDs(platform, CL.CL_DEVICE_TYPE_ALL, 0, null, count);
      if (code != Status.SUCCESS || count[0] == 0) {
        refused.add(
            "platform "
                + DeviceProperties.text(platform, CL.CL_PLATFORM_NAME)
                + " has no device"
                + (code == Status.SUCCESS || code == Status.DEVICE_NOT_FOUND
                    ? ""
                    : " (" + Status.name(code) + ")"));
        continue;
      }
      cl_device_id[] ids = new cl_device_id[count[0]];
      Status.check(
          "clGetDeviceIDs",
          CL.clGetDeviceIDs(platform, CL.CL_DEVICE_TYPE_ALL, ids.length, ids, null));
      for (cl_device_id id : ids) {
        DeviceProperties properties = DeviceProperties.of(platform, id);
        String why = properties.whyNotUsable();
        if (why.isEmpty()) {
          devices.add(properties);
        } else {
          refused.add(properties.name() + ": " + why);
        }
      }
    }
    devices.sort(Comparator.comparing(DeviceProperties::kind)); // stable
    return devices;
  }

  /**
   * Makes JOCL load its library from a folder that is ours alone. By itself it would load whatever
   * lies at a fixed name in the shared temporary folder.
   */
  private static void loadJocl() throws IOException {
    synchronized (OpenCl.class) { // the property is the whole process's
      Path folder = Files.createTempDirectory("weft-jocl");
      String before = System.getProperty("java.io.tmpdir");
      try {
        System.setProperty("java.io.tmpdir", folder.toString());
        CL.setExceptionsEnabled(false); // runs the static initialiser, the first time
      } finally {
        System.setProperty("java.io.tmpdir", before);
        try (Stream<Path> files = Files.list(folder)) {
          for (Path file : files.toList()) {
            Files.deleteIfExists(file); // mapped already
          }
        }
        Files.deleteIfExists(folder);
      }
    }
  }

  /** JOCL's own message goes on with two stack traces. */
  private static String firstLine(Throwable e) {
    return String.valueOf(e.getMessage()).lines().findFirst().orElse("");
  }
}
