package dev.weft.guice;

import dev.weft.DeviceOptions;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;

/** A provider of the highest priority that finds no device. */
record UnavailableProvider(String id, Probe probe) implements KernelProvider {
  @Override
  public SpiVersion spiVersion() {
    return new SpiVersion(1, 0);
  }

  @Override
  public int priority() {
    return 200;
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    throw new AssertionError("there is none");
  }
}
