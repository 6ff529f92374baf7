package dev.weft.backend.vulkan.device;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.vulkan.driver.DeviceProperties;
import dev.weft.backend.vulkan.driver.Vulkan;
import dev.weft.backend.vulkan.shaders.PipelineCacheFile;
import dev.weft.backend.vulkan.shaders.Pipelines;
import dev.weft.backend.vulkan.shaders.ShaderLibrary;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.MemoryPool;
import dev.weft.gpu.Recipes;
import dev.weft.interop.VulkanInterop;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.DeviceDescriptor;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * An open Vulkan device. Owns its instance. A process that ends without destroying both was seen to
 * crash inside of a driver, so the JVM's shutdown closes it too.
 */
public final class VulkanDevice implements ComputeDevice {
  private final Vulkan vulkan;
  private final VulkanContext context;
  private final Pipelines pipelines;
  private final ShaderLibrary library;
  private final MemoryPool<DeviceBuffer> pool;
  private final @Nullable DeviceCopy deviceCopy;
  private final boolean hasRowsInQuads;
  private final ComputeTraits traits;
  private final DeviceDescriptor descriptor;

  private VulkanDevice(
      Vulkan vulkan, VulkanContext context, Pipelines pipelines, ShaderLibrary library, int index) {
    this.vulkan = vulkan;
    this.context = context;
    this.pipelines = pipelines;
    this.library = library;
    pool = new MemoryPool<>(context.new Source(VulkanContext.Place.DEVICE));
    deviceCopy =
        context.properties().kind() != DeviceProperties.Kind.CPU
                && DeviceCopy.names().stream().allMatch(library::has)
            ? new DeviceCopy(pipelines.kernels(DeviceCopy.names()))
            : null;
    MatrixUnitsCheck check =
        library.has(MatrixUnitsCheck.kernel(MatrixUnits.COOPERATIVE, 1))
            ? MatrixUnitsCheck.of(this, context.properties().missingMatrices())
            : MatrixUnitsCheck.none("there are no kernels for them");
    hasRowsInQuads =
        check.units() == MatrixUnits.COOPERATIVE && MatrixLayoutCheck.hasRowsInQuads(this, library);
    traits = context.properties().traits(check.units());
    descriptor =
        context
            .properties()
            .descriptor(
                index,
                check.units() == MatrixUnits.NONE
                    ? "not used: " + check.reason()
                    : "cooperative matrices, proved"
                        + (hasRowsInQuads ? ", rows kept in registers" : ""));
  }

  /**
   * Opens a device.
   *
   * @param vulkan its instance, which it owns from then on
   * @param properties one of the instance's devices
   * @param index its number at the provider
   * @param library the shaders
   * @param cache where pipelines are kept
   */
  public static VulkanDevice open(
      Vulkan vulkan,
      DeviceProperties properties,
      int index,
      ShaderLibrary library,
      PipelineCacheFile cache) {
    try (var _ = vulkan.use().begin()) {
      VulkanContext context = new VulkanContext(vulkan, properties);
      Pipelines pipelines;
      try {
        pipelines =
            new Pipelines(
                context.device(), library, cache, context.argumentMemory().layout(), vulkan.use());
      } catch (Throwable t) {
        context.close();
        throw t;
      }
      try {
        VulkanDevice device = new VulkanDevice(vulkan, context, pipelines, library, index);
        vulkan.use().endsBy(device::destroy);
        return device;
      } catch (Throwable t) {
        context.stop();
        pipelines.close();
        context.close();
        throw t;
      }
    }
  }

  @Override
  public DeviceDescriptor descriptor() {
    return descriptor;
  }

  @Override
  public boolean has(KernelName name) {
    return library.has(name);
  }

  @Override
  public ComputeTraits traits() {
    return traits;
  }

  @Override
  public boolean hasRowsInQuads() {
    return hasRowsInQuads;
  }

  @Override
  public Support supports(OperationSpec<?> spec) {
    return Recipes.supports(traits, spec);
  }

  @Override
  public BackendKernel prepare(OperationSpec<?> spec) {
    return Recipes.prepare(this, spec);
  }

  @Override
  public List<ComputeKernel> kernels(List<KernelName> names) {
    try (var _ = context.use().begin()) {
      List<ComputeKernel> kernels = List.copyOf(pipelines.kernels(names));
      context.messages().check();
      return kernels;
    }
  }

  @Override
  public BackendMemory allocate(long bytes) {
    try (var _ = context.use().begin()) {
      MemoryPool.Block<DeviceBuffer> block = pool.take(bytes);
      DeviceBuffer buffer = block.handle();
      return new VulkanMemory(buffer.handle(), 0, buffer.address(), bytes, () -> pool.give(block));
    }
  }

  @Override
  public BackendHostMemory allocateHost(long bytes) {
    try (var _ = context.use().begin()) {
      return new VulkanHostMemory(context, bytes);
    }
  }

  @Override
  public BackendStream newStream() {
    try (var _ = context.use().begin()) {
      return new VulkanStream(context, pipelines.layout(), deviceCopy);
    }
  }

  /** A stream that copies within device memory as that of a GPU does. */
  VulkanStream newStreamThatCopiesByKernels() {
    DeviceCopy copy = new DeviceCopy(pipelines.kernels(DeviceCopy.names()));
    return new VulkanStream(context, pipelines.layout(), copy);
  }

  @Override
  public long pooledBytes() {
    return pool.pooledBytes();
  }

  @Override
  public void trim() {
    try (var use = context.use().tryBegin()) {
      if (use != null) { // else nothing is left
        pool.trim();
        context.staging().trim();
        context.argumentMemory().trim();
      }
    }
  }

  @Override
  public <T> Optional<T> extension(Class<T> type) {
    return type == VulkanInterop.class
        ? Optional.of(type.cast(new Interop(context)))
        : Optional.empty();
  }

  @Override
  public void close() {
    vulkan.close();
    context.messages().check();
  }

  /** In order: streams, pipelines, memory, device; the instance comes after it. */
  private boolean destroy() {
    if (!context.stop()) {
      return false;
    }
    pool.trim();
    pipelines.close();
    context.close();
    return true;
  }
}
