package dev.weft.cli;

import com.sun.management.OperatingSystemMXBean;
import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DiscoveryReport;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.SpiVersion;
import jakarta.inject.Inject;
import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;

/** Looks at everything that Weft depends on here, and says what to do. */
@Command(
    name = "doctor",
    description = {
      "Find out what does not work here, and what to do about it.",
      "",
      "Looks at Java, its flags, memory and every backend; opens each device and copies "
          + "a tensor to it and back.",
      ""
    })
final class DoctorCommand implements Callable<Integer> {
  private static final String VECTOR_MODULE = "jdk.incubator.vector";

  private final Console console;
  private final GlobalOptions options;
  private final Backends backends;
  private final List<String> advice = new ArrayList<>();

  @Inject
  DoctorCommand(Console console, GlobalOptions options, Backends backends) {
    this.console = console;
    this.options = options;
    this.backends = backends;
  }

  @Override
  public Integer call() {
    List<DiscoveryReport.Entry> entries =
        options.backend == null
            ? backends.report().entries()
            : DevicesCommand.entries(backends.report(), options.backend);
    PrintWriter out = console.out();
    out.println("Versions");
    versions(entries, out);
    out.println();
    out.println("Java");
    java(out);
    out.println();
    out.println("Machine");
    machine(out);
    out.println();
    out.println("Backends");
    BackendTables.print(entries, out);
    int working = tryOut(entries, out);

    out.println();
    if (advice.isEmpty()) {
      out.println("Nothing to mend.");
    } else {
      out.println("What to do");
      advice.forEach(line -> out.println("  - " + line));
    }
    return working == 0 ? ExitCode.UNAVAILABLE : ExitCode.GOOD;
  }

  private static void versions(List<DiscoveryReport.Entry> entries, PrintWriter out) {
    fact(out, "weft", Versions.of("dev.weft", "weft-cli"));
    fact(out, "SPI", SpiVersion.current().toString());
    for (DiscoveryReport.Entry entry : entries) {
      fact(
          out,
          "backend " + entry.id(),
          entry.className()
              + (entry.location().isEmpty() ? "" : " of " + entry.location())
              + (entry.spiVersion() == null ? "" : ", SPI " + entry.spiVersion()));
    }
  }

  private void java(PrintWriter out) {
    List<String> flags = ManagementFactory.getRuntimeMXBean().getInputArguments();
    fact(out, "Java", Runtime.version() + " (" + System.getProperty("java.vendor") + ")");
    fact(out, "virtual machine", System.getProperty("java.vm.name"));
    fact(out, "home", System.getProperty("java.home"));
    fact(out, "flags", flags.isEmpty() ? "none" : String.join(" ", flags));
    fact(out, "run from", Main.class.getModule().isNamed() ? "the module path" : "the class path");

    boolean vector = ModuleLayer.boot().findModule(VECTOR_MODULE).isPresent();
    fact(out, "Vector API", vector ? "there" : "not there");
    if (!vector) {
      advice.add(
          "backend cpu runs its scalar path: start Java with --add-modules " + VECTOR_MODULE);
    }
    boolean nativeAccess = true;
    for (DiscoveryReport.Entry entry : backends.report().entries()) {
      KernelProvider provider = entry.provider();
      if (provider != null && !provider.getClass().getModule().isNativeAccessEnabled()) {
        nativeAccess = false;
        String module = provider.getClass().getModule().getName();
        advice.add(
            "backend "
                + entry.id()
                + " may not load native libraries without a warning: start Java with"
                + " --enable-native-access="
                + (module == null ? "ALL-UNNAMED" : module));
      }
    }
    fact(out, "native access", nativeAccess ? "allowed" : "not allowed for every backend");
  }

  private void machine(PrintWriter out) {
    Runtime runtime = Runtime.getRuntime();
    OperatingSystemMXBean system = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
    fact(
        out,
        "system",
        String.join(
            " ",
            System.getProperty("os.name"),
            System.getProperty("os.version"),
            System.getProperty("os.arch")));
    fact(out, "processors", Integer.toString(runtime.availableProcessors()));
    fact(
        out,
        "memory",
        Units.bytes(system.getTotalMemorySize())
            + ", "
            + Units.bytes(system.getFreeMemorySize())
            + " free");
    fact(out, "Java heap", "at most " + Units.bytes(runtime.maxMemory()));
    if (runtime.maxMemory() < 1L << 30) {
      advice.add("the Java heap is small; host tensors lie there: WEFT_JAVA_OPTS=-Xmx4g");
    }
  }

  /** Opens each device and copies a tensor there and back. */
  private int tryOut(List<DiscoveryReport.Entry> entries, PrintWriter out) {
    out.println();
    int working = 0;
    for (DiscoveryReport.Entry entry : entries) {
      if (entry.devices().isEmpty()) {
        advice.add(entry.id() + ": " + entry.problem());
      }
      for (DeviceDescriptor descriptor : entry.devices()) {
        String selector = entry.id() + ":" + descriptor.index();
        long start = System.nanoTime();
        try {
          copyThereAndBack(backends.device(selector));
          long millis = (System.nanoTime() - start) / 1_000_000;
          out.println(selector + " opened and copied a tensor there and back in " + millis + " ms");
          working++;
        } catch (RuntimeException e) {
          if (options.verbose) {
            e.printStackTrace(console.err());
          }
          out.println(selector + " does NOT work: " + Failures.describe(e));
          advice.add(selector + ": " + Failures.describe(e));
        }
      }
    }
    if (entries.isEmpty()) {
      advice.add(backends.report().toString());
    }
    return working;
  }

  private static void copyThereAndBack(Device device) {
    float[] values = new float[1024];
    for (int i = 0; i < values.length; i++) {
      values[i] = i - 512;
    }
    try (Tensor tensor = device.upload(HostTensor.ofFloats(DataType.F32, values, values.length))) {
      if (!Arrays.equals(values, tensor.download().toFloats())) {
        throw new IllegalStateException("a tensor that was copied there came back changed");
      }
    }
  }

  private static void fact(PrintWriter out, String name, String value) {
    out.println("  " + name + " ".repeat(Math.max(1, 19 - name.length())) + value);
  }
}
