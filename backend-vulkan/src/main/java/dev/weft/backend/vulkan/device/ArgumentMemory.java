package dev.weft.backend.vulkan.device;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.backend.vulkan.driver.Result;
import dev.weft.gpu.MemoryPool;
import java.nio.LongBuffer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VkDescriptorBufferInfo;
import org.lwjgl.vulkan.VkDescriptorPoolCreateInfo;
import org.lwjgl.vulkan.VkDescriptorPoolSize;
import org.lwjgl.vulkan.VkDescriptorSetAllocateInfo;
import org.lwjgl.vulkan.VkDescriptorSetLayoutBinding;
import org.lwjgl.vulkan.VkDescriptorSetLayoutCreateInfo;
import org.lwjgl.vulkan.VkDevice;
import org.lwjgl.vulkan.VkWriteDescriptorSet;

/**
 * Uniform buffers for the arguments of dispatches that are too long to be pushed. Kernels find them
 * through a descriptor, the only one there is: what a uniform buffer holds is known not to change,
 * so that a kernel need not read it again after each of its stores. Used by many threads.
 */
final class ArgumentMemory {
  /** Of a block. */
  static final int BLOCK_BYTES = 16 << 10;

  /** The longest list. */
  static final int MOST_BYTES = 1024;

  /** Where a list may start: no device asks for more. */
  static final int ALIGNMENT = 256;

  private static final int SETS_OF_POOL = 64;

  private final VulkanContext context;
  private final VkDevice device;
  private final long layout;
  private final List<Long> pools = new ArrayList<>();
  private final List<Long> freeSets = new ArrayList<>();
  private final MemoryPool<Block> blocks = new MemoryPool<>(new Blocks());

  /**
   * A buffer, and its descriptor.
   *
   * @param buffer mapped
   * @param set a VkDescriptorSet of one uniform buffer, whose place is given when it is bound
   */
  record Block(DeviceBuffer buffer, long set) {}

  ArgumentMemory(VulkanContext context) {
    this.context = context;
    device = context.device();
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkDescriptorSetLayoutCreateInfo info =
          VkDescriptorSetLayoutCreateInfo.calloc(stack)
              .sType$Default()
              .pBindings(
                  VkDescriptorSetLayoutBinding.calloc(1, stack)
                      .binding(0)
                      .descriptorType(VK10.VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC)
                      .descriptorCount(1)
                      .stageFlags(VK10.VK_SHADER_STAGE_COMPUTE_BIT));
      LongBuffer handle = stack.mallocLong(1);
      Result.check(
          "vkCreateDescriptorSetLayout",
          VK10.vkCreateDescriptorSetLayout(device, info, null, handle));
      layout = handle.get(0);
    }
  }

  /** The VkDescriptorSetLayout of all kernels. */
  long layout() {
    return layout;
  }

  MemoryPool.Block<Block> take() {
    return blocks.take(BLOCK_BYTES);
  }

  void give(MemoryPool.Block<Block> block) {
    blocks.give(block);
  }

  void trim() {
    blocks.trim();
  }

  private final class Blocks implements MemoryPool.Source<Block> {
    @Override
    public @Nullable Block allocate(long bytes) {
      DeviceBuffer buffer = context.createBuffer(bytes, VulkanContext.Place.BOTH);
      return buffer == null ? null : new Block(buffer, setOf(buffer));
    }

    @Override
    public void free(Block block) {
      synchronized (freeSets) {
        freeSets.add(block.set);
      }
      context.destroy(block.buffer);
    }

    @Override
    public DeviceOutOfMemoryException exhausted(long bytes) {
      return new DeviceOutOfMemoryException(
          "memory for arguments", bytes, -1, context.properties().memoryBytes());
    }
  }

  private long setOf(DeviceBuffer buffer) {
    long set;
    synchronized (freeSets) {
      if (freeSets.isEmpty()) {
        grow();
      }
      set = freeSets.removeLast();
    }
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkWriteDescriptorSet.Buffer write =
          VkWriteDescriptorSet.calloc(1, stack)
              .sType$Default()
              .dstSet(set)
              .dstBinding(0)
              .descriptorCount(1)
              .descriptorType(VK10.VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC)
              .pBufferInfo(
                  VkDescriptorBufferInfo.calloc(1, stack)
                      .buffer(buffer.handle())
                      .offset(0)
                      .range(MOST_BYTES));
      VK10.vkUpdateDescriptorSets(device, write, null);
    }
    return set;
  }

  private void grow() {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkDescriptorPoolCreateInfo info =
          VkDescriptorPoolCreateInfo.calloc(stack)
              .sType$Default()
              .maxSets(SETS_OF_POOL)
              .pPoolSizes(
                  VkDescriptorPoolSize.calloc(1, stack)
                      .type(VK10.VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC)
                      .descriptorCount(SETS_OF_POOL));
      LongBuffer pool = stack.mallocLong(1);
      Result.check("vkCreateDescriptorPool", VK10.vkCreateDescriptorPool(device, info, null, pool));
      pools.add(pool.get(0));
      LongBuffer layouts = stack.mallocLong(SETS_OF_POOL);
      for (int i = 0; i < SETS_OF_POOL; i++) {
        layouts.put(i, layout);
      }
      LongBuffer sets = stack.mallocLong(SETS_OF_POOL);
      Result.check(
          "vkAllocateDescriptorSets",
          VK10.vkAllocateDescriptorSets(
              device,
              VkDescriptorSetAllocateInfo.calloc(stack)
                  .sType$Default()
                  .descriptorPool(pool.get(0))
                  .pSetLayouts(layouts),
              sets));
      for (int i = 0; i < SETS_OF_POOL; i++) {
        freeSets.add(sets.get(i));
      }
    }
  }

  /** Destroys all; nothing is in flight, and pipelines are gone. */
  void close() {
    blocks.trim();
    pools.forEach(pool -> VK10.vkDestroyDescriptorPool(device, pool, null));
    VK10.vkDestroyDescriptorSetLayout(device, layout, null);
  }
}
