package com.example.weft;

import dev.weft.DeviceOptions;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.List;

/** The backend {@code example}: causal convolutions in plain Java, and nothing else. */
public final class ExampleProvider implements KernelProvider {
  /** Does nothing, as the service requires. */
  public ExampleProvider() {}

  @Override
  public String id() {
    return "example";
  }

  @Override
  public SpiVersion spiVersion() {
    return new SpiVersion(1, 0); // what this was written for, whatever weft-api is there later
  }

  @Override
  public int priority() {
    return -1; // with one operation of three it is no choice to make for a user
  }

  @Override
  public Probe probe() {
    return new Probe.Available(
        List.of(
            DeviceDescriptor.builder(0, "plain Java", DeviceDescriptor.Kind.CPU)
                .vendor("Example")
                .driver("Java " + Runtime.version())
                .computeUnits(Runtime.getRuntime().availableProcessors())
                .feature("arithmetic", "float64")
                .build()));
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    if (!options.properties().isEmpty()) {
      throw new IllegalArgumentException(
          "example: expected no provider properties, but was given "
              + options.properties().keySet());
    }
    return new ExampleDevice(device);
  }
}
