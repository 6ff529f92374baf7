package dev.weft.backend.opencl.device;

import dev.weft.DeviceException;
import dev.weft.DeviceLostException;
import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.opencl.driver.Calls;
import dev.weft.backend.opencl.driver.DeviceProperties;
import dev.weft.backend.opencl.programs.ProgramCache;
import dev.weft.backend.opencl.programs.Programs;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.MemoryPool;
import dev.weft.gpu.Recipes;
import dev.weft.interop.OpenClInterop;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.DeviceDescriptor;
import java.util.List;
import java.util.Optional;

/** An open OpenCL device. */
public final class OpenClDevice implements ComputeDevice {
  private static final String MATRIX_PROPERTY = "weft.opencl.matrix";

  private final OpenClContext context;
  private final MemoryPool<Long> pool;
  private final Programs programs;
  private final ComputeTraits traits;
  private final DeviceDescriptor descriptor;

  /**
   * Opens a device.
   *
   * @param properties the device
   * @param index its number at the provider
   * @param calls OpenCL
   * @param cache where built programs are kept
   */
  public OpenClDevice(DeviceProperties properties, int index, Calls calls, ProgramCache cache) {
    context = new OpenClContext(properties, calls);
    pool = new MemoryPool<>(new Buffers(context));
    programs = new Programs(properties, context.context(), calls, cache);
    try {
      MatrixUnitsCheck check =
          MatrixUnitsCheck.of(
              this,
              MatrixUnitsCheck.byName(
                  properties.name(), properties.computeCapability(), properties.waveSize()),
              System.getProperty(MATRIX_PROPERTY, "").equals("plain"));
      long localBytes =
          LocalMemoryCheck.bytes(this, properties.localBytes(), properties.computeCapability());
      traits = properties.traits(check.units(), localBytes);
      descriptor =
          properties
              .descriptor(index)
              .feature(
                  "matrix units",
                  check.units() == MatrixUnits.NONE
                      ? "not used: " + check.reason()
                      : check.units().toString())
              .feature(
                  "local memory per group",
                  localBytes / 1024
                      + " KiB"
                      + (localBytes > properties.localBytes()
                          ? ", proved; the driver says " + properties.localBytes() / 1024
                          : ""))
              .build();
    } catch (Throwable t) {
      close();
      throw t;
    }
  }

  @Override
  public DeviceDescriptor descriptor() {
    return descriptor;
  }

  @Override
  public ComputeTraits traits() {
    return traits;
  }

  @Override
  public Support supports(OperationSpec<?> spec) {
    return Recipes.supports(traits, spec);
  }

  @Override
  public BackendKernel prepare(OperationSpec<?> spec) {
    if (!traits.isCpu()) { // whose compiler takes one program at a time
      kernels(Rehearsal.kernels(this, spec));
    }
    return Recipes.prepare(this, spec);
  }

  @Override
  public List<ComputeKernel> kernels(List<KernelName> names) {
    return List.copyOf(programs.kernels(names));
  }

  @Override
  public BackendMemory allocate(long bytes) {
    MemoryPool.Block<Long> block = pool.take(bytes);
    return new OpenClMemory(block.handle(), 0, bytes, 0, () -> pool.give(block));
  }

  @Override
  public BackendHostMemory allocateHost(long bytes) {
    return new OpenClHostMemory(context, bytes);
  }

  @Override
  public BackendStream newStream() {
    return OpenClStream.create(context);
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
    return type == OpenClInterop.class
        ? Optional.of(type.cast(new Interop(context)))
        : Optional.empty();
  }

  /** Releases the device; a lost one cannot say that anything is amiss. */
  @Override
  public void close() {
    try {
      pool.trim();
      programs.close();
    } catch (DeviceException | DeviceLostException e) {
      // The context is given up below all the same, and takes its memory with it.
    }
    context.release();
  }
}
