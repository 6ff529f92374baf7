package dev.weft.cli;

import dev.weft.DeviceOptions;
import dev.weft.DiscoveryReport;
import dev.weft.Weft;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.List;

/** Backend {@code gone}, of the highest priority, without a device. */
final class UnavailableProvider implements KernelProvider {
  static DiscoveryReport besideTheRest() {
    return Weft.discover().with(List.of(new UnavailableProvider()));
  }

  static DiscoveryReport alone() {
    return Weft.discover(List.of(new UnavailableProvider()));
  }

  @Override
  public String id() {
    return "gone";
  }

  @Override
  public SpiVersion spiVersion() {
    return new SpiVersion(1, 0);
  }

  @Override
  public int priority() {
    return 250;
  }

  @Override
  public Probe probe() {
    return new Probe.Unavailable("libgone.so.1 was not found", "install the gone driver", null);
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    throw new AssertionError("there is no device to open");
  }
}
