package dev.weft.cli;

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
import java.util.List;

/** Backend {@code nothing}, whose one device says no to every spec. */
final class SupportsNothingProvider implements KernelProvider {
  private static final DeviceDescriptor DEVICE =
      DeviceDescriptor.builder(0, "a stone", DeviceDescriptor.Kind.OTHER).build();

  @Override
  public String id() {
    return "nothing";
  }

  @Override
  public SpiVersion spiVersion() {
    return new SpiVersion(1, 0);
  }

  @Override
  public Probe probe() {
    return new Probe.Available(List.of(DEVICE));
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    return new Stone();
  }

  private static final class Stone implements BackendDevice {
    @Override
    public DeviceDescriptor descriptor() {
      return DEVICE;
    }

    @Override
    public Support supports(OperationSpec<?> spec) {
      return Support.no("it is a stone");
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
    public void close() {}
  }
}
