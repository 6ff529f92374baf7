package dev.weft.backend.opencl.device;

import dev.weft.WeftException;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Region;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Finds out how much local memory a group may have. NVIDIA's driver reports 48 KiB for every
 * device, but compiles and runs kernels that declare what the hardware has, which since compute
 * capability 8.0 is 99 KiB at least. A kernel that fills and reads it ({@code matrix/local.cl})
 * proves it; where it fails, what the driver says holds.
 */
final class LocalMemoryCheck {
  /** What is tried. */
  static final int BYTES = 96 * 1024;

  private static final int FROM_CAPABILITY = 80;
  private static final int GROUP = 256;
  private static final int PATTERN = 0x5a5a;

  private LocalMemoryCheck() {}

  /**
   * The bytes that kernels may declare.
   *
   * @param device the device, which compiles and runs already; its traits are not asked for
   * @param reported what the driver says
   * @param computeCapability NVIDIA's, times ten; 0 for other vendors
   */
  static long bytes(ComputeDevice device, long reported, int computeCapability) {
    if (computeCapability < FROM_CAPABILITY || reported >= BYTES) {
      return reported;
    }
    try {
      return holds(device, BYTES) ? BYTES : reported;
    } catch (WeftException e) {
      return reported; // refused by the compiler or at the launch
    }
  }

  /** Whether a group has so much, by a kernel that uses it. */
  static boolean holds(ComputeDevice device, int bytes) {
    ComputeKernel kernel =
        device.kernel(KernelName.of("matrix/local", "probe").with("BYTES", bytes));
    try (ComputeStream stream = (ComputeStream) device.newStream();
        Arena arena = Arena.ofConfined();
        BackendMemory out = device.allocate(GROUP * 4L)) {
      MemorySegment host = arena.allocate(GROUP * 4L, 16);
      host.fill((byte) -1);
      stream.upload(host, out, 0);
      stream.arguments().region(new Region(out, 0));
      stream.dispatch(kernel, 1, 1, 1, GROUP);
      stream.download(out, 0, host);
      stream.synchronize();
      for (int i = 0; i < GROUP; i++) {
        if (host.getAtIndex(ValueLayout.JAVA_INT, i) != ((GROUP - 1 - i) ^ PATTERN)) {
          return false;
        }
      }
      return true;
    }
  }
}
