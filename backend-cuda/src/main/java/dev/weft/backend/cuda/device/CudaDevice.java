package dev.weft.backend.cuda.device;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.WeftException;
import dev.weft.backend.cuda.driver.Handles.DevicePointer;
import dev.weft.backend.cuda.driver.Handles.HostPointer;
import dev.weft.backend.cuda.driver.Status;
import dev.weft.backend.cuda.driver.StreamCalls;
import dev.weft.backend.cuda.driver.TensorMaps;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.KernelManifest;
import dev.weft.backend.cuda.kernels.KernelModules;
import dev.weft.gpu.MemoryPool;
import dev.weft.interop.CudaInterop;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.DeviceDescriptor;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import jcuda.driver.CUdevice;
import jcuda.driver.JCudaDriver;

/** An open NVIDIA GPU. */
public final class CudaDevice implements BackendDevice {
  private static final int HOST_REGISTER_MAPPED = 2;

  private final Operations operations;
  private final CudaContext context;
  private final DeviceBlocks blocks;
  private final MemoryPool<Long> pool;
  private final KernelModules modules;
  private final DeviceDescriptor descriptor;

  /**
   * Opens a device.
   *
   * @param operations what it can prepare
   * @param device its handle
   * @param properties what it can do
   * @param index its number at the provider
   * @param calls the driver
   * @param driverVersion the driver's version
   * @param manifest the kernels that were built
   * @param ptxOnly whether to use PTX even where there is machine code
   */
  public CudaDevice(
      Operations operations,
      CUdevice device,
      GpuProperties properties,
      int index,
      StreamCalls calls,
      String driverVersion,
      KernelManifest manifest,
      boolean ptxOnly) {
    this.operations = operations;
    context = new CudaContext(device, calls);
    context.bind();
    blocks = new DeviceBlocks(context, properties.memoryBytes());
    pool = new MemoryPool<>(blocks);
    modules = new KernelModules(manifest, properties.major(), properties.minor(), ptxOnly);
    try {
      // Now rather than at the first prepare: an image that does not fit is a device that cannot be
      // opened.
      DeviceDescriptor.Builder described = properties.descriptor(index, driverVersion);
      manifest.kernels().values().stream()
          .filter(k -> manifest.architectures(k.module()).contains("ptx"))
          .findFirst()
          .ifPresent(k -> {
            modules.kernel(k.name());
            described.feature("image", modules.architecture(k.module()));
          });
      descriptor = described.build();
    } catch (Throwable t) {
      modules.close();
      context.release();
      throw t;
    }
  }

  @Override
  public DeviceDescriptor descriptor() {
    return descriptor;
  }

  @Override
  public Support supports(OperationSpec<?> spec) {
    return operations.supports(spec);
  }

  @Override
  public BackendKernel prepare(OperationSpec<?> spec) {
    context.bind();
    return operations.prepare(this, spec);
  }

  /** The encoder of tensor maps, where the driver has one. */
  public Optional<TensorMaps> tensorMaps() {
    return context.calls().tensorMaps();
  }

  /** Finds a kernel by name, loading its image if need be. */
  public KernelFunction kernel(String name) {
    context.bind();
    return modules.kernel(name);
  }

  /** Finds a kernel that is built for some architectures only; nothing where this is not one. */
  public Optional<KernelFunction> findKernel(String name) {
    context.bind();
    return modules.find(name);
  }

  @Override
  public CudaMemory allocate(long bytes) {
    MemoryPool.Block<Long> block = pool.take(bytes);
    return new CudaMemory(block.handle(), bytes, () -> pool.give(block));
  }

  @Override
  public BackendHostMemory allocateHost(long bytes) {
    context.bind();
    return new CudaHostMemory(context, bytes);
  }

  /** Registers host memory with the driver, which pins it and gives it a device address. */
  @Override
  public Optional<BackendMemory> wrap(MemorySegment segment) {
    if (segment.byteSize() == 0) {
      return Optional.empty();
    }
    context.bind();
    HostPointer host = new HostPointer(segment.address());
    int code =
        DeviceBlocks.unhindered(
            () -> JCudaDriver.cuMemHostRegister(host, segment.byteSize(), HOST_REGISTER_MAPPED));
    if (code != Status.SUCCESS) {
      return Optional.empty(); // not the kind of memory that can be pinned, or pinned already
    }
    DevicePointer address = new DevicePointer();
    code = JCudaDriver.cuMemHostGetDevicePointer(address, host, 0);
    if (code != Status.SUCCESS) {
      unregister(host);
      return Optional.empty();
    }
    return Optional.of(
        new CudaMemory(
            address.raw(),
            segment.byteSize(),
            () -> {
              context.bind();
              unregister(host);
            }));
  }

  private static void unregister(HostPointer host) {
    Status.check(
        "cuMemHostUnregister",
        DeviceBlocks.unhindered(() -> JCudaDriver.cuMemHostUnregister(host)));
  }

  @Override
  public BackendStream newStream() {
    return CudaStream.create(context);
  }

  @Override
  public long freeBytes() {
    return blocks.freeBytes();
  }

  @Override
  public long pooledBytes() {
    return pool.pooledBytes();
  }

  @Override
  public void trim() {
    pool.trim();
  }

  @Override
  public <T> Optional<T> extension(Class<T> type) {
    return type == CudaInterop.class
        ? Optional.of(type.cast(new Interop(context)))
        : Optional.empty();
  }

  /** Releases the device; a lost one cannot say that anything is amiss. */
  @Override
  public void close() {
    try {
      context.bind();
      pool.trim();
      modules.close();
    } catch (WeftException e) {
      // The primary context is given up below all the same, and takes its memory with it.
    }
    context.release();
  }
}
