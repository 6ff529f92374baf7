package dev.weft.backend.opencl.driver;

import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.MatrixUnits;
import dev.weft.spi.DeviceDescriptor;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jocl.CL;
import org.jocl.Pointer;
import org.jocl.cl_device_id;
import org.jocl.cl_platform_id;

/**
 * What a driver says of a device.
 *
 * @param platform its platform
 * @param id its handle
 * @param kind what sort of device it is
 * @param name as the vendor gives it
 * @param vendor the vendor's name
 * @param version OpenCL's version and what the vendor adds to it
 * @param driverVersion the driver's version
 * @param platformVersion the platform's version
 * @param extensions the names of the extensions
 * @param computeUnits how many
 * @param memoryBytes global memory
 * @param mostBufferBytes the largest buffer that it says it allocates
 * @param localBytes local memory of a group
 * @param mostGroupSize the most work-items of a group
 * @param waveSize work-items that run in step
 * @param addressBits of a pointer
 * @param available whether the device can be used at all
 * @param compiler whether the driver has a compiler
 * @param littleEndian whether its memory is
 */
public record DeviceProperties(
    cl_platform_id platform,
    cl_device_id id,
    Kind kind,
    String name,
    String vendor,
    String version,
    String driverVersion,
    String platformVersion,
    String extensions,
    int computeUnits,
    long memoryBytes,
    long mostBufferBytes,
    long localBytes,
    int mostGroupSize,
    int waveSize,
    int addressBits,
    boolean available,
    boolean compiler,
    boolean littleEndian) {
  private static final int WARP_SIZE_NV = 0x4003;
  private static final int CAPABILITY_MAJOR_NV = 0x4000;
  private static final int CAPABILITY_MINOR_NV = 0x4001;
  private static final int WAVEFRONT_WIDTH_AMD = 0x4043;
  private static final int USUAL_WAVE = 32;
  private static final Pattern VERSION = Pattern.compile("OpenCL (\\d+)\\.(\\d+).*");

  /** What sort of device it is, the preferred first. */
  public enum Kind {
    GPU(DeviceDescriptor.Kind.GPU),
    OTHER(DeviceDescriptor.Kind.OTHER),
    CPU(DeviceDescriptor.Kind.CPU);

    private final DeviceDescriptor.Kind described;

    Kind(DeviceDescriptor.Kind described) {
      this.described = described;
    }

    /** As the descriptor has it. */
    public DeviceDescriptor.Kind described() {
      return described;
    }
  }

  /** Asks the driver; needs no context. */
  static DeviceProperties of(cl_platform_id platform, cl_device_id id) {
    long type = number(id, CL.CL_DEVICE_TYPE);
    Kind kind =
        (type & CL.CL_DEVICE_TYPE_GPU) != 0
            ? Kind.GPU
            : (type & CL.CL_DEVICE_TYPE_CPU) != 0 ? Kind.CPU : Kind.OTHER;
    String extensions = text(id, CL.CL_DEVICE_EXTENSIONS);
    long wave = 0;
    if (extensions.contains("cl_nv_device_attribute_query")) {
      wave = numberOr(id, WARP_SIZE_NV, 0);
    } else if (extensions.contains("cl_amd_device_attribute_query")) {
      wave = numberOr(id, WAVEFRONT_WIDTH_AMD, 0);
    }
    return new DeviceProperties(
        platform,
        id,
        kind,
        text(id, CL.CL_DEVICE_NAME),
        text(id, CL.CL_DEVICE_VENDOR),
        text(id, CL.CL_DEVICE_VERSION),
        text(id, CL.CL_DRIVER_VERSION),
        text(platform, CL.CL_PLATFORM_NAME) + " " + text(platform, CL.CL_PLATFORM_VERSION),
        extensions,
        (int) Math.max(1, number(id, CL.CL_DEVICE_MAX_COMPUTE_UNITS)),
        number(id, CL.CL_DEVICE_GLOBAL_MEM_SIZE),
        number(id, CL.CL_DEVICE_MAX_MEM_ALLOC_SIZE),
        number(id, CL.CL_DEVICE_LOCAL_MEM_SIZE),
        (int) Math.min(Integer.MAX_VALUE, number(id, CL.CL_DEVICE_MAX_WORK_GROUP_SIZE)),
        wave > 0 ? (int) wave : USUAL_WAVE,
        (int) number(id, CL.CL_DEVICE_ADDRESS_BITS),
        number(id, CL.CL_DEVICE_AVAILABLE) != 0,
        number(id, CL.CL_DEVICE_COMPILER_AVAILABLE) != 0,
        number(id, CL.CL_DEVICE_ENDIAN_LITTLE) != 0);
  }

  /** Why the device cannot run Weft's kernels; empty if it can. */
  public String whyNotUsable() {
    Matcher matcher = VERSION.matcher(version);
    if (!matcher.matches()) {
      return "its version is '" + version + "'";
    }
    int major = Integer.parseInt(matcher.group(1));
    if (major * 10 + Integer.parseInt(matcher.group(2)) < 12) {
      return "it has " + version + ", and 1.2 is needed";
    }
    if (!available) {
      return "its driver says that it is not available";
    }
    if (!compiler) {
      return "its driver has no compiler";
    }
    if (addressBits != 64) {
      return "its addresses have " + addressBits + " bits, and 64 are needed";
    }
    return littleEndian ? "" : "its memory is big-endian";
  }

  /**
   * Whether the driver keeps programs on disk itself, and makes a binary only by more work: PoCL
   * compiles every kernel once more for it.
   */
  public boolean keepsPrograms() {
    return platformVersion.startsWith("Portable Computing Language");
  }

  /** The compute capability times ten of an NVIDIA device, such as 90; 0 for any other. */
  public int computeCapability() {
    return extensions.contains("cl_nv_device_attribute_query")
        ? (int) (numberOr(id, CAPABILITY_MAJOR_NV, 0) * 10 + numberOr(id, CAPABILITY_MINOR_NV, 0))
        : 0;
  }

  /**
   * What recipes choose by.
   *
   * @param matrixUnits those that proved themselves
   * @param provedLocalBytes local memory of a group, which may be more than the driver says
   */
  public ComputeTraits traits(MatrixUnits matrixUnits, long provedLocalBytes) {
    return new ComputeTraits(
        computeUnits, mostGroupSize, provedLocalBytes, matrixUnits, waveSize, kind == Kind.CPU);
  }

  /** Starts the descriptor. */
  public DeviceDescriptor.Builder descriptor(int index) {
    return DeviceDescriptor.builder(index, name, kind.described())
        .vendor(vendor)
        .driver(version + ", driver " + driverVersion)
        .memoryBytes(memoryBytes)
        .computeUnits(computeUnits)
        .graphs(true)
        .feature("platform", platformVersion)
        .feature("graphs", "recorded dispatches, enqueued again: OpenCL has none of its own")
        .feature("local memory per group", String.format(Locale.ROOT, "%d KiB", localBytes / 1024))
        .feature("group size", "up to " + mostGroupSize)
        .feature(
            "largest buffer", String.format(Locale.ROOT, "%d MiB", mostBufferBytes / (1 << 20)));
  }

  static String text(cl_platform_id platform, int attribute) {
    long[] size = new long[1];
    Status.check("clGetPlatformInfo", CL.clGetPlatformInfo(platform, attribute, 0, null, size));
    byte[] bytes = new byte[Math.toIntExact(size[0])];
    Status.check(
        "clGetPlatformInfo",
        CL.clGetPlatformInfo(platform, attribute, bytes.length, Pointer.to(bytes), null));
    return text(bytes);
  }

  private static String text(cl_device_id device, int attribute) {
    long[] size = new long[1];
    Status.check("clGetDeviceInfo", CL.clGetDeviceInfo(device, attribute, 0, null, size));
    byte[] bytes = new byte[Math.toIntExact(size[0])];
    Status.check(
        "clGetDeviceInfo",
        CL.clGetDeviceInfo(device, attribute, bytes.length, Pointer.to(bytes), null));
    return text(bytes);
  }

  private static String text(byte[] bytes) {
    int length = 0;
    while (length < bytes.length && bytes[length] != 0) {
      length++;
    }
    return new String(Arrays.copyOf(bytes, length), StandardCharsets.UTF_8).strip();
  }

  private static long number(cl_device_id device, int attribute) {
    long[] value = new long[1]; // smaller results fill its low bytes
    Status.check(
        "clGetDeviceInfo", CL.clGetDeviceInfo(device, attribute, 8, Pointer.to(value), null));
    return value[0];
  }

  private static long numberOr(cl_device_id device, int attribute, long otherwise) {
    long[] value = new long[1];
    return CL.clGetDeviceInfo(device, attribute, 8, Pointer.to(value), null) == Status.SUCCESS
        ? value[0]
        : otherwise;
  }
}
