package dev.weft.backend.vulkan.device;

import static org.lwjgl.system.MemoryUtil.NULL;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.backend.vulkan.driver.CooperativeMatrices;
import dev.weft.backend.vulkan.driver.DeviceProperties;
import dev.weft.backend.vulkan.driver.DeviceUse;
import dev.weft.backend.vulkan.driver.Result;
import dev.weft.backend.vulkan.driver.ValidationMessages;
import dev.weft.backend.vulkan.driver.Vulkan;
import dev.weft.gpu.MemoryPool;
import java.lang.foreign.MemorySegment;
import java.nio.LongBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.lwjgl.PointerBuffer;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.util.vma.Vma;
import org.lwjgl.util.vma.VmaAllocationCreateInfo;
import org.lwjgl.util.vma.VmaAllocationInfo;
import org.lwjgl.util.vma.VmaAllocatorCreateInfo;
import org.lwjgl.util.vma.VmaVulkanFunctions;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VK12;
import org.lwjgl.vulkan.VkBufferCreateInfo;
import org.lwjgl.vulkan.VkBufferDeviceAddressInfo;
import org.lwjgl.vulkan.VkDevice;
import org.lwjgl.vulkan.VkDeviceCreateInfo;
import org.lwjgl.vulkan.VkDeviceQueueCreateInfo;
import org.lwjgl.vulkan.VkPhysicalDeviceFeatures2;
import org.lwjgl.vulkan.VkPhysicalDeviceVulkan11Features;
import org.lwjgl.vulkan.VkPhysicalDeviceVulkan12Features;
import org.lwjgl.vulkan.VkQueue;
import org.lwjgl.vulkan.VkSubmitInfo;

/**
 * A VkDevice with its queues and its allocator, and what streams of it share. Used by many threads.
 */
final class VulkanContext {
  private static final int MOST_QUEUES = 4;

  /** As device memory starts in CUDA; recipes count on it. */
  private static final long ALIGNMENT = 256;

  private final Vulkan vulkan;
  private final DeviceProperties properties;
  private final VkDevice device;
  private final List<Queue> queues = new ArrayList<>();
  private final AtomicInteger nextQueue = new AtomicInteger();
  private final long allocator;
  private final Set<DeviceBuffer> buffers = ConcurrentHashMap.newKeySet();
  private final Set<VulkanStream> streams = ConcurrentHashMap.newKeySet();
  private final Set<VulkanGraph> graphs = ConcurrentHashMap.newKeySet();
  private final ConcurrentSkipListMap<Long, VulkanHostMemory> pinned =
      new ConcurrentSkipListMap<>();
  private final MemoryPool<DeviceBuffer> staging = new MemoryPool<>(new Source(Place.HOST));
  private final ArgumentMemory argumentMemory;
  private final LossCheck lossCheck;
  private final Timelines timelines;
  private final Timestamps timestamps;

  /** Where memory lies. */
  enum Place {
    /** The device's own, never the host's: that would be another speed altogether. */
    DEVICE,
    /** The host's, mapped: what travels. */
    HOST,
    /**
     * The device's where the host can write it, else the host's; mapped: what kernels read once.
     */
    BOTH
  }

  /** A queue, which one thread at a time may submit to. */
  private record Queue(VkQueue handle, Object lock) {}

  VulkanContext(Vulkan vulkan, DeviceProperties properties) {
    this.vulkan = vulkan;
    this.properties = properties;
    int count = Math.min(MOST_QUEUES, properties.queue().queues());
    device = createDevice(properties, count);
    try (MemoryStack stack = MemoryStack.stackPush()) {
      PointerBuffer handle = stack.mallocPointer(1);
      for (int i = 0; i < count; i++) {
        VK10.vkGetDeviceQueue(device, properties.queue().index(), i, handle);
        queues.add(new Queue(new VkQueue(handle.get(0), device), new Object()));
      }
      VmaAllocatorCreateInfo info =
          VmaAllocatorCreateInfo.calloc(stack)
              .flags(Vma.VMA_ALLOCATOR_CREATE_BUFFER_DEVICE_ADDRESS_BIT)
              .instance(vulkan.instance())
              .physicalDevice(properties.handle())
              .device(device)
              .vulkanApiVersion(VK12.VK_API_VERSION_1_2)
              .pVulkanFunctions(VmaVulkanFunctions.calloc(stack).set(vulkan.instance(), device));
      Result.check("vmaCreateAllocator", Vma.vmaCreateAllocator(info, handle));
      allocator = handle.get(0);
    } catch (Throwable t) {
      VK10.vkDestroyDevice(device, null);
      throw t;
    }
    argumentMemory = new ArgumentMemory(this);
    lossCheck = new LossCheck(device, this::submitFence);
    timelines = new Timelines(device, lossCheck);
    timestamps =
        new Timestamps(
            device, properties.queue().timestampBits(), properties.limits().timestampNanos());
  }

  private static VkDevice createDevice(DeviceProperties properties, int queues) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkDeviceQueueCreateInfo.Buffer queue =
          VkDeviceQueueCreateInfo.calloc(1, stack)
              .sType$Default()
              .queueFamilyIndex(properties.queue().index())
              .pQueuePriorities(stack.callocFloat(queues));
      VkPhysicalDeviceVulkan11Features eleven =
          VkPhysicalDeviceVulkan11Features.calloc(stack)
              .sType$Default()
              .storageBuffer16BitAccess(true);
      VkPhysicalDeviceVulkan12Features twelve =
          VkPhysicalDeviceVulkan12Features.calloc(stack)
              .sType$Default()
              .storageBuffer8BitAccess(true)
              .bufferDeviceAddress(true)
              .timelineSemaphore(true)
              .hostQueryReset(true);
      VkPhysicalDeviceFeatures2 features = VkPhysicalDeviceFeatures2.calloc(stack).sType$Default();
      features.features().shaderInt64(true).shaderInt16(true);
      VkDeviceCreateInfo info =
          VkDeviceCreateInfo.calloc(stack)
              .sType$Default()
              .pQueueCreateInfos(queue)
              .pNext(features)
              .pNext(eleven)
              .pNext(twelve);
      if (properties.missingMatrices().isEmpty()) {
        CooperativeMatrices.enable(info, twelve, stack);
      }
      PointerBuffer handle = stack.mallocPointer(1);
      Result.check("vkCreateDevice", VK10.vkCreateDevice(properties.handle(), info, null, handle));
      return new VkDevice(handle.get(0), properties.handle(), info);
    }
  }

  /** Who is at work with the device; everything that calls the driver is within a use. */
  DeviceUse use() {
    return vulkan.use();
  }

  DeviceProperties properties() {
    return properties;
  }

  VkDevice device() {
    return device;
  }

  ValidationMessages messages() {
    return vulkan.messages();
  }

  Timelines timelines() {
    return timelines;
  }

  Timestamps timestamps() {
    return timestamps;
  }

  // ---- queues

  /** The number of a queue for another stream. */
  int assignQueue() {
    return Math.floorMod(nextQueue.getAndIncrement(), queues.size());
  }

  /** A VkQueue. */
  VkQueue queue(int index) {
    return queues.get(index).handle;
  }

  void submit(int index, VkSubmitInfo info) {
    Queue queue = queues.get(index);
    int code;
    synchronized (queue.lock) {
      code = VK10.vkQueueSubmit(queue.handle, info, NULL);
    }
    Result.check("vkQueueSubmit", code);
  }

  /** Submits a fence behind what the first queue has to do. */
  void submitFence(long fence) {
    Queue queue = queues.get(0);
    int code;
    synchronized (queue.lock) {
      code = VK10.vkQueueSubmit(queue.handle, (VkSubmitInfo.Buffer) null, fence);
    }
    Result.check("vkQueueSubmit", code);
  }

  void opened(VulkanStream stream) {
    streams.add(stream);
  }

  void closed(VulkanStream stream) {
    streams.remove(stream);
  }

  void opened(VulkanGraph graph) {
    graphs.add(graph);
  }

  void closed(VulkanGraph graph) {
    graphs.remove(graph);
  }

  /** Does what is left to do on the host for all that the device has done. */
  void retireAll() {
    for (VulkanStream stream : streams) {
      stream.retire();
    }
  }

  // ---- memory

  /** Null if there is too little memory. */
  @Nullable DeviceBuffer createBuffer(long bytes, Place place) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkBufferCreateInfo info =
          VkBufferCreateInfo.calloc(stack)
              .sType$Default()
              .size(bytes)
              .usage(
                  VK10.VK_BUFFER_USAGE_STORAGE_BUFFER_BIT
                      | VK10.VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT
                      | VK10.VK_BUFFER_USAGE_TRANSFER_SRC_BIT
                      | VK10.VK_BUFFER_USAGE_TRANSFER_DST_BIT
                      | VK12.VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT)
              .sharingMode(VK10.VK_SHARING_MODE_EXCLUSIVE);
      VmaAllocationCreateInfo allocation =
          VmaAllocationCreateInfo.calloc(stack)
              .minAlignment(ALIGNMENT)
              .usage(
                  place == Place.HOST
                      ? Vma.VMA_MEMORY_USAGE_AUTO_PREFER_HOST
                      : Vma.VMA_MEMORY_USAGE_AUTO_PREFER_DEVICE);
      switch (place) {
        case DEVICE -> allocation.requiredFlags(VK10.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
        case HOST ->
            allocation
                .flags(
                    Vma.VMA_ALLOCATION_CREATE_MAPPED_BIT
                        | Vma.VMA_ALLOCATION_CREATE_HOST_ACCESS_RANDOM_BIT)
                .requiredFlags(VK10.VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
        case BOTH ->
            allocation
                .flags(
                    Vma.VMA_ALLOCATION_CREATE_MAPPED_BIT
                        | Vma.VMA_ALLOCATION_CREATE_HOST_ACCESS_SEQUENTIAL_WRITE_BIT)
                .requiredFlags(VK10.VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
                .preferredFlags(VK10.VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
      }
      LongBuffer buffer = stack.mallocLong(1);
      PointerBuffer memory = stack.mallocPointer(1);
      VmaAllocationInfo made = VmaAllocationInfo.calloc(stack);
      int code = Vma.vmaCreateBuffer(allocator, info, allocation, buffer, memory, made);
      if (Result.isOutOfMemory(code)) {
        return null;
      }
      Result.check("vmaCreateBuffer", code);
      DeviceBuffer created =
          new DeviceBuffer(
              buffer.get(0), memory.get(0), address(buffer.get(0)), bytes, made.pMappedData());
      buffers.add(created);
      return created;
    }
  }

  /** Where shaders find a buffer. */
  long address(long buffer) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      return VK12.vkGetBufferDeviceAddress(
          device, VkBufferDeviceAddressInfo.calloc(stack).sType$Default().buffer(buffer));
    }
  }

  void destroy(DeviceBuffer buffer) {
    if (buffers.remove(buffer)) { // else the device was closed, and took its memory with it
      Vma.vmaDestroyBuffer(allocator, buffer.handle(), buffer.allocation());
    }
  }

  /** Device memory, or host memory that is mapped, in blocks. */
  final class Source implements MemoryPool.Source<DeviceBuffer> {
    private final Place place;

    Source(Place place) {
      this.place = place;
    }

    @Override
    public @Nullable DeviceBuffer allocate(long bytes) {
      if (place == Place.DEVICE
          && bytes > Math.min(properties.memoryBytes(), properties.mostAllocationBytes())) {
        return null; // some drivers would allocate it, and fail when it is used
      }
      return createBuffer(bytes, place);
    }

    @Override
    public void free(DeviceBuffer buffer) {
      destroy(buffer);
    }

    @Override
    public DeviceOutOfMemoryException exhausted(long bytes) {
      long most = properties.mostAllocationBytes();
      return new DeviceOutOfMemoryException(
          place != Place.DEVICE
              ? "memory for transfers"
              : bytes > most
                  ? "device memory (an allocation of this device has at most " + most + " bytes)"
                  : "device memory",
          bytes,
          -1,
          properties.memoryBytes());
    }
  }

  /** Mapped host memory for what travels to the device and back. */
  MemoryPool<DeviceBuffer> staging() {
    return staging;
  }

  /** Memory for arguments that are too long to be pushed. */
  ArgumentMemory argumentMemory() {
    return argumentMemory;
  }

  void pin(VulkanHostMemory memory) {
    pinned.put(memory.buffer().mapped(), memory);
  }

  void unpin(VulkanHostMemory memory) {
    pinned.remove(memory.buffer().mapped());
  }

  /** The pinned memory that a segment lies in, if any. */
  @Nullable DeviceBuffer pinnedAround(MemorySegment segment) {
    Map.Entry<Long, VulkanHostMemory> below = pinned.floorEntry(segment.address());
    if (below == null) {
      return null;
    }
    DeviceBuffer buffer = below.getValue().buffer();
    return segment.address() - buffer.mapped() + segment.byteSize() <= buffer.bytes()
        ? buffer
        : null;
  }

  // ---- the end

  /**
   * Waits for what was submitted, and closes what records; all uses have ended. Says no, and closes
   * nothing, if a thread is at work with pinned host memory.
   */
  boolean stop() {
    for (VulkanHostMemory memory : pinned.values()) {
      if (!memory.endSegment()) {
        return false;
      }
    }
    int ignored = VK10.vkDeviceWaitIdle(device); // a lost device is closed like any other
    assert ignored <= 0;
    for (VulkanStream stream : List.copyOf(streams)) {
      stream.close();
    }
    for (VulkanGraph graph : List.copyOf(graphs)) {
      graph.close();
    }
    return true;
  }

  /** Destroys what is left, innermost first. */
  void close() {
    staging.trim();
    argumentMemory.close();
    timestamps.close();
    timelines.close();
    lossCheck.close();
    for (DeviceBuffer buffer : List.copyOf(buffers)) {
      destroy(buffer);
    }
    Vma.vmaDestroyAllocator(allocator);
    VK10.vkDestroyDevice(device, null);
  }
}
