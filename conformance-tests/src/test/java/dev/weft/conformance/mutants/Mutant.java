package dev.weft.conformance.mutants;

import dev.weft.DeviceOptions;
import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;

/** A provider that does as another does, but for what its device changes. */
public final class Mutant implements KernelProvider {
  private final KernelProvider inner;
  private final boolean graphs;
  private final UnaryOperator<BackendDevice> change;

  /**
   * Breaks a provider.
   *
   * @param inner the right one
   * @param graphs whether the mutant has graphs; without, it may wait within a launch
   * @param change wraps its devices
   */
  public Mutant(KernelProvider inner, boolean graphs, UnaryOperator<BackendDevice> change) {
    this.inner = inner;
    this.graphs = graphs;
    this.change = change;
  }

  @Override
  public String id() {
    return "mutant";
  }

  @Override
  public SpiVersion spiVersion() {
    return inner.spiVersion();
  }

  @Override
  public Probe probe() {
    if (!(inner.probe() instanceof Probe.Available available)) {
      throw new IllegalStateException("the CPU is always there");
    }
    return new Probe.Available(available.devices().stream().map(this::describe).toList());
  }

  private DeviceDescriptor describe(DeviceDescriptor d) {
    return DeviceDescriptor.builder(d.index(), "mutant", d.kind()).graphs(graphs).build();
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    if (!(inner.probe() instanceof Probe.Available available)) {
      throw new IllegalStateException("the CPU is always there");
    }
    List<DeviceDescriptor> devices = available.devices();
    return change.apply(inner.open(devices.get(device.index()), options));
  }

  /** A device that does as another does. */
  public static class MutantDevice implements BackendDevice {
    final BackendDevice inner;

    /**
     * Wraps a device.
     *
     * @param inner the right one
     */
    public MutantDevice(BackendDevice inner) {
      this.inner = inner;
    }

    @Override
    public DeviceDescriptor descriptor() {
      DeviceDescriptor d = inner.descriptor();
      return DeviceDescriptor.builder(d.index(), "mutant", d.kind()).graphs(graphs()).build();
    }

    boolean graphs() {
      return false;
    }

    @Override
    public Support supports(OperationSpec<?> spec) {
      return inner.supports(spec);
    }

    @Override
    public BackendKernel prepare(OperationSpec<?> spec) {
      return inner.prepare(spec);
    }

    @Override
    public BackendMemory allocate(long bytes) {
      return inner.allocate(bytes);
    }

    @Override
    public BackendHostMemory allocateHost(long bytes) {
      return inner.allocateHost(bytes);
    }

    @Override
    public Optional<BackendMemory> wrap(MemorySegment segment) {
      return inner.wrap(segment);
    }

    @Override
    public BackendStream newStream() {
      return inner.newStream();
    }

    @Override
    public long freeBytes() {
      return inner.freeBytes();
    }

    @Override
    public long pooledBytes() {
      return inner.pooledBytes();
    }

    @Override
    public void trim() {
      inner.trim();
    }

    @Override
    public <T> Optional<T> extension(Class<T> type) {
      return inner.extension(type);
    }

    @Override
    public void close() {
      inner.close();
    }
  }
}
