package dev.weft.backend.opencl.programs;

import dev.weft.DeviceException;
import dev.weft.backend.opencl.driver.Calls;
import dev.weft.backend.opencl.driver.DeviceProperties;
import dev.weft.backend.opencl.driver.Status;
import dev.weft.gpu.KernelName;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.SortedMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jocl.CL;
import org.jocl.Pointer;
import org.jocl.cl_context;
import org.jocl.cl_device_id;
import org.jocl.cl_program;
import org.jspecify.annotations.Nullable;

/** The programs of an open device, each built once. Safe for use by several threads. */
public final class Programs {
  private static final String STANDARD = "-cl-std=CL1.2";
  private static final int MOST_THREADS = 4;
  private static final int MOST_ATTEMPTS = 3;
  private static final int LOG_LINES = 12;

  private final DeviceProperties device;
  private final cl_context context;
  private final Calls calls;
  private final ProgramCache cache;
  private final Map<Key, CompletableFuture<cl_program>> programs = new HashMap<>();
  private final Map<KernelName, CompiledKernel> kernels = new HashMap<>();

  private record Key(String source, SortedMap<String, Integer> constants) {
    static Key of(KernelName name) {
      return new Key(name.source(), name.constants());
    }

    /** What the compiler is told. */
    String options() {
      StringBuilder options = new StringBuilder(STANDARD);
      constants.forEach(
          (name, value) -> options.append(" -D").append(name).append('=').append(value));
      return options.toString();
    }
  }

  /** No program yet. */
  public Programs(DeviceProperties device, cl_context context, Calls calls, ProgramCache cache) {
    this.device = device;
    this.context = context;
    this.calls = calls;
    this.cache = cache;
  }

  /** Builds what is missing, several programs at once where that helps. */
  public List<CompiledKernel> kernels(List<KernelName> names) {
    Map<Key, CompletableFuture<cl_program>> wanted = new LinkedHashMap<>();
    Map<Key, CompletableFuture<cl_program>> mine = new LinkedHashMap<>();
    synchronized (programs) {
      for (KernelName name : names) {
        Key key = Key.of(name);
        CompletableFuture<cl_program> program = programs.get(key);
        if (program == null) {
          program = new CompletableFuture<>();
          programs.put(key, program);
          mine.put(key, program);
        }
        wanted.put(key, program);
      }
    }
    buildAll(mine);
    List<CompiledKernel> compiled = new ArrayList<>();
    for (KernelName name : names) {
      compiled.add(kernel(name, joined(Objects.requireNonNull(wanted.get(Key.of(name))))));
    }
    return compiled;
  }

  private static cl_program joined(CompletableFuture<cl_program> program) {
    try {
      return program.join();
    } catch (CompletionException e) {
      if (e.getCause() instanceof RuntimeException cause) {
        throw cause;
      }
      throw e;
    }
  }

  private void buildAll(Map<Key, CompletableFuture<cl_program>> missing) {
    // PoCL's compiler takes one program at a time.
    int threads =
        device.kind() == DeviceProperties.Kind.CPU
            ? 1
            : Math.min(
                Math.min(MOST_THREADS, missing.size()), Runtime.getRuntime().availableProcessors());
    if (threads <= 1) {
      missing.forEach(this::complete);
      return;
    }
    try (ExecutorService pool = Executors.newFixedThreadPool(threads)) {
      missing.forEach((key, program) -> pool.execute(() -> complete(key, program)));
    }
  }

  private void complete(Key key, CompletableFuture<cl_program> program) {
    try {
      program.complete(build(key));
    } catch (Throwable t) {
      synchronized (programs) {
        programs.remove(key); // whoever asks again may be luckier
      }
      program.completeExceptionally(t);
    }
  }

  private CompiledKernel kernel(KernelName name, cl_program program) {
    synchronized (kernels) {
      CompiledKernel found = kernels.get(name);
      if (found != null) {
        return found;
      }
    }
    long handle = calls.createKernel(program.getNativePointer(), name.function());
    long most;
    try {
      most = calls.mostGroupSize(handle, device.id().getNativePointer());
    } finally {
      calls.releaseKernel(handle);
    }
    CompiledKernel kernel =
        new CompiledKernel(
            name, program.getNativePointer(), (int) Math.min(most, device.mostGroupSize()));
    synchronized (kernels) {
      kernels.putIfAbsent(name, kernel);
    }
    return kernel;
  }

  private cl_program build(Key key) {
    String source = KernelSources.read(key.source);
    String options = key.options();
    String hash =
        ProgramCache.key(
            List.of(
                source,
                options,
                device.name(),
                device.vendor(),
                device.version(),
                device.driverVersion(),
                device.platformVersion()));
    Optional<byte[]> stored = cache.find(hash);
    if (stored.isPresent()) {
      cl_program program = ofBinary(stored.get(), options);
      if (program != null) {
        return program;
      }
      cache.forget(hash);
    }
    cl_program program = ofSource(key, source, options);
    binary(program).ifPresent(bytes -> cache.store(hash, bytes));
    return program;
  }

  /** Null if the driver refuses the binary. */
  private @Nullable cl_program ofBinary(byte[] binary, String options) {
    cl_device_id[] devices = {device.id()};
    int[] code = new int[1];
    int[] status = new int[1];
    cl_program program =
        CL.clCreateProgramWithBinary(
            context, 1, devices, new long[] {binary.length}, new byte[][] {binary}, status, code);
    if (code[0] != Status.SUCCESS || status[0] != Status.SUCCESS || program == null) {
      return null;
    }
    if (CL.clBuildProgram(program, 1, devices, options, null, null) != Status.SUCCESS) {
      release(program);
      return null;
    }
    return program;
  }

  private cl_program ofSource(Key key, String source, String options) {
    int[] code = new int[1];
    for (int attempt = 1; ; attempt++) {
      cl_program program =
          CL.clCreateProgramWithSource(context, 1, new String[] {source}, null, code);
      Status.check("clCreateProgramWithSource", code[0]);
      cl_device_id[] devices = {device.id()};
      int built = CL.clBuildProgram(program, 1, devices, options, null, null);
      if (built == Status.SUCCESS) {
        return program;
      }
      String log = log(program);
      release(program);
      if (attempt == MOST_ATTEMPTS || !lostItsFile(log)) {
        throw refused(key, source, options, built, log);
      }
    }
  }

  /**
   * Whether a compiler made of LLVM (PoCL's) says that the file it was writing is gone. LLVM
   * removes such files in a handler of signals, which it puts before that of the JVM, to which some
   * of these signals are everyday work. That was seen once, and has nothing to do with the program.
   */
  static boolean lostItsFile(String log) {
    return log.contains("unable to rename temporary");
  }

  private DeviceException refused(Key key, String source, String options, int code, String log) {
    String where = kept(key, source, options, log);
    String head =
        log.lines()
            .filter(l -> !l.isBlank())
            .limit(LOG_LINES)
            .reduce((a, b) -> a + "\n  " + b)
            .map(l -> ":\n  " + l)
            .orElse("");
    return new DeviceException(
        "clBuildProgram(" + key.source + " " + options + ") on " + device.name(),
        code,
        Status.name(code) + " (log and source: " + where + ")" + head + "\n ",
        null);
  }

  /** Keeps source and log for a report to the driver's or Weft's authors; says where. */
  private String kept(Key key, String source, String options, String log) {
    String text =
        "// "
            + device.name()
            + ", "
            + device.version()
            + ", driver "
            + device.driverVersion()
            + "\n// options: "
            + options
            + "\n/* the compiler's log:\n"
            + log.replace("*/", "* /")
            + "\n*/\n"
            + source;
    try {
      Path file = Files.createTempFile("weft-opencl-" + key.source.replace('/', '-') + "-", ".cl");
      Files.writeString(file, text);
      return file.toString();
    } catch (IOException e) {
      return "not kept, since no file could be written: " + e;
    }
  }

  private String log(cl_program program) {
    long[] size = new long[1];
    if (CL.clGetProgramBuildInfo(program, device.id(), CL.CL_PROGRAM_BUILD_LOG, 0, null, size)
            != Status.SUCCESS
        || size[0] <= 0) {
      return "";
    }
    byte[] log = new byte[Math.toIntExact(size[0])];
    CL.clGetProgramBuildInfo(
        program, device.id(), CL.CL_PROGRAM_BUILD_LOG, log.length, Pointer.to(log), null);
    int length = 0;
    while (length < log.length && log[length] != 0) {
      length++;
    }
    return new String(Arrays.copyOf(log, length), StandardCharsets.UTF_8);
  }

  private Optional<byte[]> binary(cl_program program) {
    if (cache.folder().isEmpty()) {
      return Optional.empty(); // some drivers compile more when asked for it
    }
    long[] size = new long[1];
    if (CL.clGetProgramInfo(program, CL.CL_PROGRAM_BINARY_SIZES, 8, Pointer.to(size), null)
            != Status.SUCCESS
        || size[0] <= 0
        || size[0] > ProgramCache.MOST_BYTES) {
      return Optional.empty();
    }
    byte[] binary = new byte[(int) size[0]];
    Pointer pointer = Pointer.to(binary);
    int code = CL.clGetProgramInfo(program, CL.CL_PROGRAM_BINARIES, 8, Pointer.to(pointer), null);
    return code == Status.SUCCESS ? Optional.of(binary) : Optional.empty();
  }

  /** Releases all; nothing is in flight and nothing is being built. */
  public void close() {
    synchronized (programs) {
      for (CompletableFuture<cl_program> program : programs.values()) {
        if (program.isDone() && !program.isCompletedExceptionally()) {
          release(program.join());
        }
      }
      programs.clear();
    }
    synchronized (kernels) {
      kernels.clear();
    }
  }

  private static void release(cl_program program) {
    int ignored = CL.clReleaseProgram(program); // the device goes either way
    assert ignored <= 0;
  }
}
