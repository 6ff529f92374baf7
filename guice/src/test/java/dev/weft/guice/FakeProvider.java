package dev.weft.guice;

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
import java.util.ArrayList;
import java.util.List;

/** A provider of two devices that can only be opened and closed, and remembers in which order. */
final class FakeProvider implements KernelProvider {
  final List<String> log = new ArrayList<>();
  private final String id;
  private final int priority;
  private final boolean failsToClose;
  int probes;

  FakeProvider(String id, int priority) {
    this(id, priority, false);
  }

  FakeProvider(String id, int priority, boolean failsToClose) {
    this.id = id;
    this.priority = priority;
    this.failsToClose = failsToClose;
  }

  @Override
  public String id() {
    return id;
  }

  @Override
  public SpiVersion spiVersion() {
    return new SpiVersion(1, 0);
  }

  @Override
  public int priority() {
    return priority;
  }

  @Override
  public Probe probe() {
    probes++;
    return new Probe.Available(List.of(descriptor(0), descriptor(1)));
  }

  private DeviceDescriptor descriptor(int index) {
    return DeviceDescriptor.builder(index, "fake " + index, DeviceDescriptor.Kind.OTHER).build();
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    log.add("open " + device.index());
    return new FakeDevice(device);
  }

  private final class FakeDevice implements BackendDevice {
    private final DeviceDescriptor descriptor;

    FakeDevice(DeviceDescriptor descriptor) {
      this.descriptor = descriptor;
    }

    @Override
    public DeviceDescriptor descriptor() {
      return descriptor;
    }

    @Override
    public Support supports(OperationSpec<?> spec) {
      return Support.no("it is a fake");
    }

    @Override
    public BackendKernel prepare(OperationSpec<?> spec) {
      throw new UnsupportedOperationException();
    }

    @Override
    public BackendMemory allocate(long bytes) {
      throw new UnsupportedOperationException();
    }

    @Override
    public BackendHostMemory allocateHost(long bytes) {
      throw new UnsupportedOperationException();
    }

    @Override
    public BackendStream newStream() {
      throw new UnsupportedOperationException();
    }

    @Override
    public void close() {
      log.add("close " + descriptor.index());
      if (failsToClose) {
        throw new IllegalStateException(id + " fails to close");
      }
    }
  }
}
