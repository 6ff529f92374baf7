package dev.weft.backend.vulkan.device;

import dev.weft.backend.vulkan.shaders.VulkanKernel;
import dev.weft.gpu.KernelName;

/**
 * Copies within device memory by a kernel ({@code memory/copy}): on an H200 vkCmdCopyBuffer reached
 * a fifth of the memory's speed.
 */
record DeviceCopy(VulkanKernel kernel) {
  static final KernelName KERNEL = KernelName.of("memory/copy", "copy_chunks");

  private static final int CHUNK_BYTES = 16;
  private static final int CHUNKS_OF_GROUP = 1024;

  /** Shorter ones are as fast by the driver's own. */
  private static final long LEAST_BYTES = 64 << 10;

  /** The bytes, from the start, that the kernel copies; what is left is the driver's. */
  static long bytes(VulkanMemory source, long from, VulkanMemory target, long to, long bytes) {
    boolean isAligned =
        (source.address() + from) % CHUNK_BYTES == 0 && (target.address() + to) % CHUNK_BYTES == 0;
    return isAligned && bytes >= LEAST_BYTES ? bytes / CHUNK_BYTES * CHUNK_BYTES : 0;
  }

  /** Records the copy of so many bytes, a multiple of 16. */
  void record(Submission submission, long source, long target, long bytes) {
    long chunks = bytes / CHUNK_BYTES;
    byte[] arguments = new ArgumentBlock().value(source).value(target).value(chunks).toBytes();
    submission.dispatch(kernel, arguments, (chunks + CHUNKS_OF_GROUP - 1) / CHUNKS_OF_GROUP, 1, 1);
  }
}
