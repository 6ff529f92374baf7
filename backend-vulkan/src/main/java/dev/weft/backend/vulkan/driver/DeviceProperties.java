package dev.weft.backend.vulkan.driver;

import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.MatrixUnits;
import dev.weft.spi.DeviceDescriptor;
import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.vulkan.AMDShaderCoreProperties;
import org.lwjgl.vulkan.KHRMaintenance4;
import org.lwjgl.vulkan.NVShaderSmBuiltins;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VK11;
import org.lwjgl.vulkan.VK12;
import org.lwjgl.vulkan.VkExtensionProperties;
import org.lwjgl.vulkan.VkPhysicalDevice;
import org.lwjgl.vulkan.VkPhysicalDeviceFeatures2;
import org.lwjgl.vulkan.VkPhysicalDeviceLimits;
import org.lwjgl.vulkan.VkPhysicalDeviceMaintenance4PropertiesKHR;
import org.lwjgl.vulkan.VkPhysicalDeviceMemoryProperties;
import org.lwjgl.vulkan.VkPhysicalDeviceProperties;
import org.lwjgl.vulkan.VkPhysicalDeviceProperties2;
import org.lwjgl.vulkan.VkPhysicalDeviceShaderCorePropertiesAMD;
import org.lwjgl.vulkan.VkPhysicalDeviceShaderSMBuiltinsPropertiesNV;
import org.lwjgl.vulkan.VkPhysicalDeviceVulkan11Features;
import org.lwjgl.vulkan.VkPhysicalDeviceVulkan11Properties;
import org.lwjgl.vulkan.VkPhysicalDeviceVulkan12Features;
import org.lwjgl.vulkan.VkPhysicalDeviceVulkan12Properties;
import org.lwjgl.vulkan.VkQueueFamilyProperties;

/**
 * What a driver says of a device.
 *
 * @param handle its handle, of one instance
 * @param kind what sort of device it is
 * @param name as the vendor gives it
 * @param vendorId the vendor's PCI or Khronos number
 * @param deviceId the vendor's number for it
 * @param apiVersion Vulkan's version, as Vulkan packs it
 * @param driver the driver's name and version
 * @param cacheUuid what pipeline caches of this device and driver bear, in hexadecimal
 * @param extensions the names of the extensions
 * @param missing the features that the shaders or the runtime need and that it lacks
 * @param queue where work is submitted
 * @param memoryBytes local memory
 * @param mostAllocationBytes the largest allocation
 * @param limits what shaders must keep to
 * @param missingMatrices what it lacks of {@link CooperativeMatrices}; empty if it has them
 */
public record DeviceProperties(
    VkPhysicalDevice handle,
    Kind kind,
    String name,
    int vendorId,
    int deviceId,
    int apiVersion,
    String driver,
    String cacheUuid,
    Set<String> extensions,
    List<String> missing,
    QueueFamily queue,
    long memoryBytes,
    long mostAllocationBytes,
    Limits limits,
    String missingMatrices) {
  private static final int VENDOR_NVIDIA = 0x10de;
  private static final int VENDOR_AMD = 0x1002;
  private static final int VENDOR_INTEL = 0x8086;
  private static final int USUAL_COMPUTE_UNITS = 16;

  /** Shared memory that recipes may count on: there are no modules for tiles that need more. */
  private static final long MOST_LOCAL_BYTES = 64 << 10;

  /** Of the tiles that modules are compiled with, whatever the subgroups of the device. */
  private static final int WAVE = 32;

  /** What sort of device it is, the preferred first. */
  public enum Kind {
    GPU(DeviceDescriptor.Kind.GPU),
    OTHER(DeviceDescriptor.Kind.OTHER),
    CPU(DeviceDescriptor.Kind.CPU);

    private final DeviceDescriptor.Kind described;

    Kind(DeviceDescriptor.Kind described) {
      this.described = described;
    }

    static Kind of(int type) {
      return switch (type) {
        case VK10.VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
            VK10.VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
            VK10.VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU ->
            GPU;
        case VK10.VK_PHYSICAL_DEVICE_TYPE_CPU -> CPU;
        default -> OTHER;
      };
    }
  }

  /**
   * The family of queues that is used.
   *
   * @param index its number; -1 if there is none that computes and tells time
   * @param queues how many queues it has
   * @param timestampBits of its timestamps
   */
  public record QueueFamily(int index, int queues, int timestampBits) {}

  /**
   * Limits of shaders.
   *
   * @param computeUnits how many, as far as the driver tells
   * @param mostGroupSize the most work-items of a group
   * @param mostGroups the most groups of a dispatch along x
   * @param localBytes shared memory of a group
   * @param waveSize work-items of a subgroup
   * @param timestampNanos nanoseconds of a timestamp's step
   */
  public record Limits(
      int computeUnits,
      int mostGroupSize,
      long mostGroups,
      long localBytes,
      int waveSize,
      double timestampNanos) {}

  /** Asks the driver; needs no device. */
  static DeviceProperties of(VkPhysicalDevice handle) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkPhysicalDeviceProperties basic = VkPhysicalDeviceProperties.malloc(stack);
      VK10.vkGetPhysicalDeviceProperties(handle, basic);
      Set<String> extensions = extensions(handle);
      VkPhysicalDeviceVulkan11Properties eleven =
          VkPhysicalDeviceVulkan11Properties.calloc(stack).sType$Default();
      VkPhysicalDeviceVulkan12Properties twelve =
          VkPhysicalDeviceVulkan12Properties.calloc(stack).sType$Default();
      List<String> missing = new ArrayList<>();
      if (basic.apiVersion() >= VK12.VK_API_VERSION_1_2) {
        VkPhysicalDeviceProperties2 properties =
            VkPhysicalDeviceProperties2.calloc(stack).sType$Default().pNext(eleven).pNext(twelve);
        VK11.vkGetPhysicalDeviceProperties2(handle, properties);
        missing.addAll(missing(handle, stack));
      }
      Kind kind = Kind.of(basic.deviceType());
      VkPhysicalDeviceLimits limits = basic.limits();
      byte[] uuid = new byte[VK10.VK_UUID_SIZE];
      ByteBuffer bytes = basic.pipelineCacheUUID();
      bytes.get(uuid);
      return new DeviceProperties(
          handle,
          kind,
          basic.deviceNameString(),
          basic.vendorID(),
          basic.deviceID(),
          basic.apiVersion(),
          (twelve.driverNameString() + " " + twelve.driverInfoString()).strip(),
          HexFormat.of().formatHex(uuid),
          extensions,
          missing,
          queueFamily(handle, stack),
          memoryBytes(handle, stack),
          mostAllocationBytes(handle, kind, extensions, eleven.maxMemoryAllocationSize(), stack),
          new Limits(
              computeUnits(handle, kind, extensions, stack),
              Math.min(limits.maxComputeWorkGroupInvocations(), limits.maxComputeWorkGroupSize(0)),
              Integer.toUnsignedLong(limits.maxComputeWorkGroupCount(0)),
              Integer.toUnsignedLong(limits.maxComputeSharedMemorySize()),
              Math.max(1, eleven.subgroupSize()),
              limits.timestampPeriod()),
          CooperativeMatrices.missing(handle, extensions, eleven.subgroupSize()));
    }
  }

  private static Set<String> extensions(VkPhysicalDevice handle) {
    int[] count = new int[1];
    Result.check(
        "vkEnumerateDeviceExtensionProperties",
        VK10.vkEnumerateDeviceExtensionProperties(handle, (String) null, count, null));
    try (VkExtensionProperties.Buffer all = VkExtensionProperties.malloc(count[0])) {
      Result.check(
          "vkEnumerateDeviceExtensionProperties",
          VK10.vkEnumerateDeviceExtensionProperties(handle, (String) null, count, all));
      Set<String> names = new TreeSet<>();
      all.forEach(extension -> names.add(extension.extensionNameString()));
      return names;
    }
  }

  private static List<String> missing(VkPhysicalDevice handle, MemoryStack stack) {
    VkPhysicalDeviceVulkan11Features eleven =
        VkPhysicalDeviceVulkan11Features.calloc(stack).sType$Default();
    VkPhysicalDeviceVulkan12Features twelve =
        VkPhysicalDeviceVulkan12Features.calloc(stack).sType$Default();
    VkPhysicalDeviceFeatures2 features =
        VkPhysicalDeviceFeatures2.calloc(stack).sType$Default().pNext(eleven).pNext(twelve);
    VK11.vkGetPhysicalDeviceFeatures2(handle, features);
    List<String> missing = new ArrayList<>();
    note(missing, "shaderInt64", features.features().shaderInt64());
    note(missing, "shaderInt16", features.features().shaderInt16());
    note(missing, "storageBuffer16BitAccess", eleven.storageBuffer16BitAccess());
    note(missing, "storageBuffer8BitAccess", twelve.storageBuffer8BitAccess());
    note(missing, "bufferDeviceAddress", twelve.bufferDeviceAddress());
    note(missing, "timelineSemaphore", twelve.timelineSemaphore());
    note(missing, "hostQueryReset", twelve.hostQueryReset());
    return missing;
  }

  private static void note(List<String> missing, String feature, boolean present) {
    if (!present) {
      missing.add(feature);
    }
  }

  /** The family that computes only, where there is one: it does not wait for graphics. */
  private static QueueFamily queueFamily(VkPhysicalDevice handle, MemoryStack stack) {
    IntBuffer count = stack.mallocInt(1);
    VK10.vkGetPhysicalDeviceQueueFamilyProperties(handle, count, null);
    VkQueueFamilyProperties.Buffer families = VkQueueFamilyProperties.malloc(count.get(0), stack);
    VK10.vkGetPhysicalDeviceQueueFamilyProperties(handle, count, families);
    QueueFamily found = new QueueFamily(-1, 0, 0);
    for (int i = 0; i < count.get(0); i++) {
      VkQueueFamilyProperties family = families.get(i);
      boolean computes = (family.queueFlags() & VK10.VK_QUEUE_COMPUTE_BIT) != 0;
      boolean draws = (family.queueFlags() & VK10.VK_QUEUE_GRAPHICS_BIT) != 0;
      if (computes && family.timestampValidBits() > 0 && (found.index < 0 || !draws)) {
        found = new QueueFamily(i, family.queueCount(), family.timestampValidBits());
        if (!draws) {
          break;
        }
      }
    }
    return found;
  }

  private static long memoryBytes(VkPhysicalDevice handle, MemoryStack stack) {
    VkPhysicalDeviceMemoryProperties memory = VkPhysicalDeviceMemoryProperties.malloc(stack);
    VK10.vkGetPhysicalDeviceMemoryProperties(handle, memory);
    long most = 0;
    for (int i = 0; i < memory.memoryHeapCount(); i++) {
      if ((memory.memoryHeaps(i).flags() & VK10.VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0) {
        most = Math.max(most, memory.memoryHeaps(i).size());
      }
    }
    return most;
  }

  /**
   * The largest allocation. What drivers report is what they promise: NVIDIA's gives buffers far
   * larger than the 4 GiB that it says; lavapipe fails beyond, if only when memory is used.
   */
  private static long mostAllocationBytes(
      VkPhysicalDevice handle,
      Kind kind,
      Set<String> extensions,
      long promised,
      MemoryStack stack) {
    if (kind != Kind.GPU
        || !extensions.contains(KHRMaintenance4.VK_KHR_MAINTENANCE_4_EXTENSION_NAME)) {
      return promised;
    }
    VkPhysicalDeviceMaintenance4PropertiesKHR buffers =
        VkPhysicalDeviceMaintenance4PropertiesKHR.calloc(stack).sType$Default();
    VK11.vkGetPhysicalDeviceProperties2(
        handle, VkPhysicalDeviceProperties2.calloc(stack).sType$Default().pNext(buffers));
    return Math.max(promised, buffers.maxBufferSize());
  }

  /** Vulkan itself does not tell. */
  private static int computeUnits(
      VkPhysicalDevice handle, Kind kind, Set<String> extensions, MemoryStack stack) {
    if (kind == Kind.CPU) {
      return Runtime.getRuntime().availableProcessors();
    }
    VkPhysicalDeviceProperties2 properties =
        VkPhysicalDeviceProperties2.calloc(stack).sType$Default();
    if (extensions.contains(NVShaderSmBuiltins.VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) {
      VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia =
          VkPhysicalDeviceShaderSMBuiltinsPropertiesNV.calloc(stack).sType$Default();
      VK11.vkGetPhysicalDeviceProperties2(handle, properties.pNext(nvidia));
      return Math.max(1, nvidia.shaderSMCount());
    }
    if (extensions.contains(AMDShaderCoreProperties.VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME)) {
      VkPhysicalDeviceShaderCorePropertiesAMD amd =
          VkPhysicalDeviceShaderCorePropertiesAMD.calloc(stack).sType$Default();
      VK11.vkGetPhysicalDeviceProperties2(handle, properties.pNext(amd));
      return Math.max(
          1,
          amd.shaderEngineCount()
              * amd.shaderArraysPerEngineCount()
              * amd.computeUnitsPerShaderArray());
    }
    return USUAL_COMPUTE_UNITS;
  }

  /** Why the device cannot run Weft's kernels; empty if it can. */
  public String whyNotUsable() {
    if (apiVersion < VK12.VK_API_VERSION_1_2) {
      return "it has Vulkan " + version(apiVersion) + ", and 1.2 is needed";
    }
    if (!missing.isEmpty()) {
      return "it lacks " + String.join(", ", missing);
    }
    return queue.index < 0 ? "it has no queue that computes and tells time" : "";
  }

  /** Such as 1.3.230. */
  static String version(int packed) {
    return VK10.VK_VERSION_MAJOR(packed)
        + "."
        + VK10.VK_VERSION_MINOR(packed)
        + "."
        + VK10.VK_VERSION_PATCH(packed);
  }

  /**
   * What recipes choose by.
   *
   * @param units the matrix units that proved themselves
   */
  public ComputeTraits traits(MatrixUnits units) {
    return new ComputeTraits(
        limits.computeUnits,
        limits.mostGroupSize,
        Math.min(limits.localBytes, MOST_LOCAL_BYTES),
        units,
        WAVE,
        kind == Kind.CPU);
  }

  /** The descriptor; matrix units are what the driver says, proved or not. */
  public DeviceDescriptor descriptor(int index) {
    return described(index).build();
  }

  /** The descriptor of an open device. */
  public DeviceDescriptor descriptor(int index, String matrixUnits) {
    return described(index).feature("matrix units", matrixUnits).build();
  }

  boolean isNvidia() {
    return vendorId == VENDOR_NVIDIA;
  }

  private DeviceDescriptor.Builder described(int index) {
    return DeviceDescriptor.builder(index, name, kind.described)
        .vendor(
            switch (vendorId) {
              case VENDOR_NVIDIA -> "NVIDIA";
              case VENDOR_AMD -> "AMD";
              case VENDOR_INTEL -> "Intel";
              default -> String.format(Locale.ROOT, "0x%x", vendorId);
            })
        .driver("Vulkan " + version(apiVersion) + ", " + driver)
        .memoryBytes(memoryBytes)
        .computeUnits(limits.computeUnits)
        .graphs(true)
        .feature("graphs", "recorded commands, submitted again as one command buffer")
        .feature(
            "local memory per group",
            String.format(Locale.ROOT, "%d KiB", limits.localBytes / 1024))
        .feature("group size", "up to " + limits.mostGroupSize)
        .feature("subgroup size", Integer.toString(limits.waveSize))
        .feature(
            "largest allocation",
            String.format(Locale.ROOT, "%d MiB", mostAllocationBytes / (1 << 20)))
        .feature(
            "matrix units",
            missingMatrices.isEmpty() ? "cooperative matrices" : "not used: " + missingMatrices);
  }
}
