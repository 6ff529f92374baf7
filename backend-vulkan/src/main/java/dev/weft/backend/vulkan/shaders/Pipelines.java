package dev.weft.backend.vulkan.shaders;

import static org.lwjgl.system.MemoryUtil.NULL;

import dev.weft.backend.vulkan.driver.DeviceUse;
import dev.weft.backend.vulkan.driver.Result;
import dev.weft.gpu.KernelName;
import java.nio.ByteBuffer;
import java.nio.LongBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.lwjgl.PointerBuffer;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.system.MemoryUtil;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VkComputePipelineCreateInfo;
import org.lwjgl.vulkan.VkDevice;
import org.lwjgl.vulkan.VkPipelineCacheCreateInfo;
import org.lwjgl.vulkan.VkPipelineLayoutCreateInfo;
import org.lwjgl.vulkan.VkPipelineShaderStageCreateInfo;
import org.lwjgl.vulkan.VkPushConstantRange;
import org.lwjgl.vulkan.VkShaderModuleCreateInfo;
import org.lwjgl.vulkan.VkSpecializationInfo;
import org.lwjgl.vulkan.VkSpecializationMapEntry;

/**
 * The pipelines of an open device, each made once. All have one layout: push constants, and a
 * uniform buffer for longer arguments; all other memory is reached by address. Safe for use by
 * several threads.
 */
public final class Pipelines {
  /** Bytes of push constants that every device has. */
  public static final int PUSHED_BYTES = 128;

  private static final int MOST_THREADS = 8;

  private final VkDevice device;
  private final ShaderLibrary library;
  private final PipelineCacheFile file;
  private final DeviceUse use;
  private final Map<KernelName, CompletableFuture<VulkanKernel>> kernels = new HashMap<>();
  private final long layout;
  private final long cache;

  /**
   * No pipeline yet.
   *
   * @param device the VkDevice
   * @param library the shaders
   * @param file where pipelines are kept
   * @param setLayout the VkDescriptorSetLayout of arguments that are not pushed
   * @param use of the device: no more are made once it ends, as drivers take seconds for many
   */
  public Pipelines(
      VkDevice device,
      ShaderLibrary library,
      PipelineCacheFile file,
      long setLayout,
      DeviceUse use) {
    this.device = device;
    this.library = library;
    this.file = file;
    this.use = use;
    layout = createLayout(device, setLayout);
    try {
      cache = createCache(device, file.read());
    } catch (Throwable t) {
      VK10.vkDestroyPipelineLayout(device, layout, null);
      throw t;
    }
  }

  private static long createLayout(VkDevice device, long setLayout) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkPipelineLayoutCreateInfo info =
          VkPipelineLayoutCreateInfo.calloc(stack)
              .sType$Default()
              .pSetLayouts(stack.longs(setLayout))
              .pPushConstantRanges(
                  VkPushConstantRange.calloc(1, stack)
                      .stageFlags(VK10.VK_SHADER_STAGE_COMPUTE_BIT)
                      .offset(0)
                      .size(PUSHED_BYTES));
      LongBuffer handle = stack.mallocLong(1);
      Result.check(
          "vkCreatePipelineLayout", VK10.vkCreatePipelineLayout(device, info, null, handle));
      return handle.get(0);
    }
  }

  private static long createCache(VkDevice device, byte[] initial) {
    ByteBuffer data = initial.length == 0 ? null : MemoryUtil.memAlloc(initial.length);
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkPipelineCacheCreateInfo info = VkPipelineCacheCreateInfo.calloc(stack).sType$Default();
      if (data != null) {
        info.pInitialData(data.put(0, initial));
      }
      LongBuffer handle = stack.mallocLong(1);
      Result.check("vkCreatePipelineCache", VK10.vkCreatePipelineCache(device, info, null, handle));
      return handle.get(0);
    } finally {
      MemoryUtil.memFree(data);
    }
  }

  /** The VkPipelineLayout of all. */
  public long layout() {
    return layout;
  }

  /** Makes what is missing, several at once, and keeps what the driver compiled for other runs. */
  public List<VulkanKernel> kernels(List<KernelName> names) {
    Map<KernelName, CompletableFuture<VulkanKernel>> wanted = new LinkedHashMap<>();
    Map<KernelName, CompletableFuture<VulkanKernel>> mine = new LinkedHashMap<>();
    synchronized (kernels) {
      for (KernelName name : names) {
        CompletableFuture<VulkanKernel> kernel = kernels.get(name);
        if (kernel == null) {
          kernel = new CompletableFuture<>();
          kernels.put(name, kernel);
          mine.put(name, kernel);
        }
        wanted.put(name, kernel);
      }
    }
    int threads =
        Math.min(Math.min(MOST_THREADS, mine.size()), Runtime.getRuntime().availableProcessors());
    if (threads <= 1) {
      mine.forEach(this::complete);
    } else {
      try (ExecutorService pool = Executors.newFixedThreadPool(threads)) {
        mine.forEach((name, kernel) -> pool.execute(() -> complete(name, kernel)));
      }
    }
    if (!mine.isEmpty()) {
      file.write(cacheData());
    }
    List<VulkanKernel> result = new ArrayList<>();
    for (KernelName name : names) {
      result.add(joined(Objects.requireNonNull(wanted.get(name))));
    }
    return result;
  }

  private static VulkanKernel joined(CompletableFuture<VulkanKernel> kernel) {
    try {
      return kernel.join();
    } catch (CompletionException e) {
      if (e.getCause() instanceof RuntimeException cause) {
        throw cause;
      }
      throw e;
    }
  }

  private void complete(KernelName name, CompletableFuture<VulkanKernel> kernel) {
    try {
      kernel.complete(create(name));
    } catch (Throwable t) {
      synchronized (kernels) {
        kernels.remove(name); // whoever asks again may be luckier
      }
      kernel.completeExceptionally(t);
    }
  }

  private VulkanKernel create(KernelName name) {
    use.checkGoesOn();
    ShaderModule module = library.module(name);
    long shader = createShader(library.spirv(module));
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkPipelineShaderStageCreateInfo stage =
          VkPipelineShaderStageCreateInfo.calloc(stack)
              .sType$Default()
              .stage(VK10.VK_SHADER_STAGE_COMPUTE_BIT)
              .module(shader)
              .pName(stack.UTF8("main"));
      Map<Integer, Integer> values = ShaderLibrary.specialisation(module, name);
      if (!values.isEmpty()) {
        stage.pSpecializationInfo(specialisation(values, stack));
      }
      VkComputePipelineCreateInfo.Buffer info =
          VkComputePipelineCreateInfo.calloc(1, stack).sType$Default().stage(stage).layout(layout);
      LongBuffer handle = stack.mallocLong(1);
      Result.check(
          "vkCreateComputePipelines(" + name + ")",
          VK10.vkCreateComputePipelines(device, cache, info, null, handle));
      return new VulkanKernel(name, handle.get(0), module.groupSize(), module.pushed());
    } finally {
      VK10.vkDestroyShaderModule(device, shader, null);
    }
  }

  private static VkSpecializationInfo specialisation(
      Map<Integer, Integer> values, MemoryStack stack) {
    VkSpecializationMapEntry.Buffer entries = VkSpecializationMapEntry.calloc(values.size(), stack);
    ByteBuffer data = stack.malloc(4, 4 * values.size());
    int i = 0;
    for (Map.Entry<Integer, Integer> value : values.entrySet()) {
      entries.get(i).constantID(value.getKey()).offset(4 * i).size(4);
      data.putInt(4 * i, value.getValue());
      i++;
    }
    return VkSpecializationInfo.calloc(stack).pMapEntries(entries).pData(data);
  }

  private long createShader(byte[] spirv) {
    ByteBuffer code = MemoryUtil.memAlloc(spirv.length);
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkShaderModuleCreateInfo info =
          VkShaderModuleCreateInfo.calloc(stack).sType$Default().pCode(code.put(0, spirv));
      LongBuffer handle = stack.mallocLong(1);
      Result.check("vkCreateShaderModule", VK10.vkCreateShaderModule(device, info, null, handle));
      return handle.get(0);
    } finally {
      MemoryUtil.memFree(code);
    }
  }

  /** Empty if the driver gives none. */
  private byte[] cacheData() {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      PointerBuffer size = stack.mallocPointer(1);
      if (VK10.vkGetPipelineCacheData(device, cache, size, null) != Result.SUCCESS
          || size.get(0) == 0
          || size.get(0) > PipelineCacheFile.MOST_BYTES) {
        return new byte[0];
      }
      ByteBuffer data = MemoryUtil.memAlloc((int) size.get(0));
      try {
        // Incomplete if another thread has just added a pipeline: then that one will write it.
        if (VK10.vkGetPipelineCacheData(device, cache, size, data) != Result.SUCCESS) {
          return new byte[0];
        }
        byte[] bytes = new byte[(int) size.get(0)];
        data.get(0, bytes);
        return bytes;
      } finally {
        MemoryUtil.memFree(data);
      }
    }
  }

  /** Destroys all; nothing is in flight and nothing is being made. */
  public void close() {
    synchronized (kernels) {
      for (CompletableFuture<VulkanKernel> kernel : kernels.values()) {
        if (kernel.isDone() && !kernel.isCompletedExceptionally()) {
          VK10.vkDestroyPipeline(device, kernel.join().pipeline(), null);
        }
      }
      kernels.clear();
    }
    if (cache != NULL) {
      VK10.vkDestroyPipelineCache(device, cache, null);
    }
    VK10.vkDestroyPipelineLayout(device, layout, null);
  }
}
