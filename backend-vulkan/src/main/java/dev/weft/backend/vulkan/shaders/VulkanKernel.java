package dev.weft.backend.vulkan.shaders;

import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.KernelName;

/**
 * A compute pipeline, which lives as long as the device.
 *
 * @param name what it was asked for by
 * @param pipeline the VkPipeline
 * @param groupSize work-items of a group, all along x, as its source says
 * @param pushed whether its arguments travel in push constants, or else in a buffer
 */
public record VulkanKernel(KernelName name, long pipeline, int groupSize, boolean pushed)
    implements ComputeKernel {
  @Override
  public int mostGroupSize() {
    return groupSize;
  }
}
