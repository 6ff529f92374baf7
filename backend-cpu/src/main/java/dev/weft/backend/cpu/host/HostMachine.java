package dev.weft.backend.cpu.host;

import com.sun.management.HotSpotDiagnosticMXBean;
import com.sun.management.OperatingSystemMXBean;
import dev.weft.DeviceOptions;
import dev.weft.spi.DeviceDescriptor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** What the JVM knows of the machine that it runs on. */
public final class HostMachine {
  private HostMachine() {}

  /**
   * Returns the number of cores that this JVM may use.
   *
   * @return at least 1
   */
  public static int cores() {
    return Runtime.getRuntime().availableProcessors();
  }

  /**
   * Starts the description of the machine as a device.
   *
   * @return a builder for device 0, with graphs
   */
  public static DeviceDescriptor.Builder describe() {
    return DeviceDescriptor.builder(0, processorName(), DeviceDescriptor.Kind.CPU)
        .driver("Java " + Runtime.version())
        .memoryBytes(memoryBytes())
        .computeUnits(cores())
        .graphs(true);
  }

  /**
   * Refuses options that only another provider could know.
   *
   * @param id the provider's id
   * @param options the user's options
   * @throws IllegalArgumentException if there is any provider property: the CPU backends have none
   */
  public static void refuseProperties(String id, DeviceOptions options) {
    if (!options.properties().isEmpty()) {
      throw new IllegalArgumentException(
          id
              + ": expected no provider properties, but was given "
              + String.join(", ", options.properties().keySet()));
    }
  }

  /**
   * Returns the machine's (or its container's) memory.
   *
   * @return bytes, or 0 if unknown
   */
  static long memoryBytes() {
    OperatingSystemMXBean system = system();
    return system == null ? 0 : Math.max(system.getTotalMemorySize(), 0);
  }

  /**
   * Returns how much native memory the JVM hands out at most. That is as much as the heap's limit,
   * unless {@code -XX:MaxDirectMemorySize} says otherwise.
   *
   * @return bytes
   */
  static long limitBytes() {
    long memory = memoryBytes();
    long direct = directLimitBytes();
    return memory == 0 ? direct : Math.min(memory, direct);
  }

  /**
   * Returns how much native memory could still be allocated.
   *
   * @return bytes, or -1 if unknown
   */
  static long freeBytes() {
    OperatingSystemMXBean system = system();
    long physical = system == null ? -1 : system.getFreeMemorySize();
    long used = 0;
    for (BufferPoolMXBean pool : ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class)) {
      if (pool.getName().equals("direct")) {
        used = pool.getMemoryUsed(); // arenas count as direct memory
      }
    }
    long direct = Math.max(directLimitBytes() - used, 0);
    return physical < 0 ? direct : Math.min(physical, direct);
  }

  private static long directLimitBytes() {
    HotSpotDiagnosticMXBean hotspot =
        ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class);
    if (hotspot != null) {
      long option = Long.parseLong(hotspot.getVMOption("MaxDirectMemorySize").getValue());
      if (option > 0) {
        return option;
      }
    }
    return Runtime.getRuntime().maxMemory();
  }

  private static @Nullable OperatingSystemMXBean system() {
    return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
  }

  private static String processorName() {
    Path cpuinfo = Path.of("/proc/cpuinfo");
    if (Files.isReadable(cpuinfo)) {
      try (Stream<String> lines = Files.lines(cpuinfo, StandardCharsets.ISO_8859_1)) {
        String name =
            lines
                .filter(line -> line.startsWith("model name"))
                .map(line -> line.substring(line.indexOf(':') + 1).strip())
                .findFirst()
                .orElse("");
        if (!name.isEmpty()) {
          return name;
        }
      } catch (IOException | UncheckedIOException e) {
        // a name is all that is lost
      }
    }
    return System.getProperty("os.arch", "unknown") + " processor";
  }
}
