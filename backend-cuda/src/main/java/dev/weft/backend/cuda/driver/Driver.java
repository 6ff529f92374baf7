package dev.weft.backend.cuda.driver;

import dev.weft.gpu.NotUsableException;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.NoSuchElementException;
import jcuda.driver.CUdevice;
import jcuda.driver.JCudaDriver;

/** The loaded and initialised driver. Loading twice is harmless. */
public final class Driver {
  private static final String LIBRARY = "libcuda.so.1";
  private static final String JCUDA_LIBRARY = "libJCudaDriver-12.6.0-linux-x86_64.so";

  private final StreamCalls streamCalls;
  private final int version;
  private final int devices;

  private Driver(StreamCalls streamCalls, int version, int devices) {
    this.streamCalls = streamCalls;
    this.version = version;
    this.devices = devices;
  }

  /**
   * Loads the driver, then JCuda's library for it, and initialises both.
   *
   * @throws NotUsableException if there is no driver, no device, or they do not fit
   */
  @SuppressWarnings("restricted") // loading the driver is what this is for
  public static Driver load() throws NotUsableException {
    SymbolLookup symbols;
    try {
      // First the driver alone: a failed static initialiser of JCuda could not be tried again.
      symbols = SymbolLookup.libraryLookup(LIBRARY, Arena.global());
    } catch (IllegalArgumentException e) {
      throw new NotUsableException(
          "the NVIDIA driver's library " + LIBRARY + " was not found",
          "install the NVIDIA driver, or put the folder of "
              + LIBRARY
              + " on the library path (LD_LIBRARY_PATH)",
          null);
    } catch (IllegalCallerException e) {
      throw new NotUsableException(
          "native access is not allowed to Weft's CUDA backend",
          "start java with --enable-native-access=ALL-UNNAMED (class path), or"
              + " dev.weft.backend.cuda,jcuda (module path)",
          e);
    }
    try {
      loadJcuda();
    } catch (IOException | LinkageError e) {
      throw new NotUsableException(
          "JCuda's native library could not be loaded: " + e.getMessage(),
          "use Linux on x86-64 with jcuda-natives 12.6.0 on the class path, and a temporary folder"
              + " that may hold executable files",
          e);
    }
    int code = JCudaDriver.cuInit(0);
    if (code == Status.NO_DEVICE) {
      throw new NotUsableException(
          "the NVIDIA driver sees no device",
          "check nvidia-smi and CUDA_VISIBLE_DEVICES, and that the process may open /dev/nvidia*",
          null);
    }
    if (code != Status.SUCCESS) {
      throw new NotUsableException(
          "cuInit failed with " + Status.name(code) + " (" + code + ")",
          "check nvidia-smi; the driver and its kernel module must be of one version",
          null);
    }
    int[] version = new int[1];
    Status.check("cuDriverGetVersion", JCudaDriver.cuDriverGetVersion(version));
    int[] devices = new int[1];
    Status.check("cuDeviceGetCount", JCudaDriver.cuDeviceGetCount(devices));
    try {
      return new Driver(new StreamCalls(symbols), version[0], devices[0]);
    } catch (NoSuchElementException e) { // a call that came with a later one
      throw new NotUsableException(
          "the NVIDIA driver, of CUDA "
              + text(version[0])
              + ", is too old: "
              + String.valueOf(e.getMessage()),
          "install a driver of CUDA 12.4 or later",
          e);
    }
  }

  /** Calls that take streams, events and graphs. */
  public StreamCalls streamCalls() {
    return streamCalls;
  }

  /** The newest CUDA version that the driver knows, such as 13.0. */
  public String version() {
    return text(version);
  }

  private static String text(int version) {
    return version / 1000 + "." + version % 1000 / 10;
  }

  /** How many devices there are. */
  public int devices() {
    return devices;
  }

  /** The device of an ordinal. */
  public CUdevice device(int ordinal) {
    CUdevice device = new CUdevice();
    Status.check("cuDeviceGet", JCudaDriver.cuDeviceGet(device, ordinal));
    return device;
  }

  /**
   * Makes JCuda load its library from a folder that is ours alone. By itself it would load whatever
   * lies at a fixed name in the shared temporary folder, and would not find its own file on the
   * module path.
   */
  private static void loadJcuda() throws IOException {
    synchronized (Driver.class) { // the property is the whole process's
      Path folder = Files.createTempDirectory("weft-jcuda");
      Path library = folder.resolve(JCUDA_LIBRARY);
      String before = System.getProperty("java.io.tmpdir");
      try {
        try (InputStream in =
            Driver.class.getClassLoader().getResourceAsStream("lib/" + JCUDA_LIBRARY)) {
          if (in == null) {
            throw new IOException("lib/" + JCUDA_LIBRARY + " is not on the class or module path");
          }
          Files.copy(in, library);
        }
        System.setProperty("java.io.tmpdir", folder.toString());
        JCudaDriver.setExceptionsEnabled(false); // runs the static initialiser
      } finally {
        System.setProperty("java.io.tmpdir", before);
        Files.deleteIfExists(library); // mapped already
        Files.deleteIfExists(folder);
      }
    }
  }
}
