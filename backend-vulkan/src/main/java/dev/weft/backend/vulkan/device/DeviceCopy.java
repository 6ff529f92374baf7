package dev.weft.backend.vulkan.device;

import dev.weft.backend.vulkan.shaders.VulkanKernel;
import dev.weft.gpu.KernelName;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Copies within device memory by kernels ({@code memory/copy}), in units as large as the distance
 * of source and target allows: on an H200 vkCmdCopyBuffer reached a fifth of the memory's speed,
 * and a hundredth where addresses were odd.
 *
 * @param kernels those for units of 16, 8, 4, 2 bytes and one
 */
record DeviceCopy(List<VulkanKernel> kernels) {
  /** Shorter ones are as fast by the driver's own. */
  static final long LEAST_BYTES = 64 << 10;

  private static final int LARGEST_UNIT = 16;
  private static final int UNITS_OF_GROUP = 1024;

  /** The kernels' names, the largest unit first. */
  static List<KernelName> names() {
    return IntStream.of(16, 8, 4, 2, 1)
        .mapToObj(unit -> KernelName.of("memory/copy", "copy_units").with("UNIT", unit))
        .toList();
  }

  /** Records a copy of at least 16 bytes. */
  void record(
      Submission submission,
      VulkanMemory source,
      long sourceOffset,
      VulkanMemory target,
      long targetOffset,
      long bytes) {
    long from = source.address() + sourceOffset;
    long to = target.address() + targetOffset;
    long unit = Math.min(LARGEST_UNIT, Long.lowestOneBit((from - to) | LARGEST_UNIT));
    long head = -from & (unit - 1);
    long units = (bytes - head) / unit;
    long tail = bytes - head - units * unit;
    byte[] arguments =
        new ArgumentBlock().value(from + head).value(to + head).value(units).toBytes();
    submission.dispatch(
        kernels.get(Long.numberOfLeadingZeros(unit) - Long.numberOfLeadingZeros(LARGEST_UNIT)),
        arguments,
        (units + UNITS_OF_GROUP - 1) / UNITS_OF_GROUP,
        1,
        1);
    ends(submission, source, sourceOffset, target, targetOffset, head);
    long last = bytes - tail;
    ends(submission, source, sourceOffset + last, target, targetOffset + last, tail);
  }

  /** What is left before the first unit, or after the last. */
  private static void ends(
      Submission submission,
      VulkanMemory source,
      long sourceOffset,
      VulkanMemory target,
      long targetOffset,
      long bytes) {
    if (bytes > 0) {
      submission.copy(
          source.buffer(),
          source.offset() + sourceOffset,
          target.buffer(),
          target.offset() + targetOffset,
          bytes);
    }
  }
}
