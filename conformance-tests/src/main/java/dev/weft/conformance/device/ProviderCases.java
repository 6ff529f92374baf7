package dev.weft.conformance.device;

import static dev.weft.conformance.device.DeviceCatalogue.deviceCase;

import dev.weft.Device;
import dev.weft.Kernel;
import dev.weft.OperationSpec;
import dev.weft.Prepared;
import dev.weft.Support;
import dev.weft.UnsupportedSpecException;
import dev.weft.conformance.ConformanceCase;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.stream.Stream;

/** What a provider says of itself, and of what it does not know. */
final class ProviderCases {
  private static final String OPERATION = "device.provider";

  private ProviderCases() {}

  static Stream<ConformanceCase> cases() {
    return Stream.of(
        deviceCase(
            OPERATION,
            "identity",
            c -> {
              KernelProvider provider = c.provider();
              String id = provider.id();
              c.require(
                  id.matches("[a-z0-9-]{1,32}"),
                  "id: expected 1 to 32 of [a-z0-9-], but was '" + id + "'");
              c.require(id.equals(provider.id()), "id: two calls gave two ids");
              SpiVersion version = provider.spiVersion();
              c.require(
                  SpiVersion.current().accepts(version),
                  "spiVersion: " + version + " does not fit " + SpiVersion.current());
              c.require(
                  provider.priority() < 300,
                  "priority: expected at most 299, but was " + provider.priority());
            }),
        deviceCase(
            OPERATION,
            "probe",
            c -> {
              DeviceDescriptor open = c.tested().device().info().descriptor();
              for (int i = 0; i < 2; i++) {
                long start = System.nanoTime();
                Probe probe = c.provider().probe();
                long millis = (System.nanoTime() - start) / 1_000_000;
                c.require(millis < 10_000, "probe took " + millis + " ms");
                if (!(probe instanceof Probe.Available available)) {
                  c.require(false, "probe: the device is open, but probe says " + probe);
                  return;
                }
                for (int d = 0; d < available.devices().size(); d++) {
                  DeviceDescriptor device = available.devices().get(d);
                  c.require(device.index() == d, "probe: device " + d + " has index " + device);
                  c.require(!device.name().isBlank(), "probe: device " + d + " has no name");
                }
                c.require(
                    open.index() < available.devices().size()
                        && available.devices().get(open.index()).name().equals(open.name()),
                    "probe: the open device " + open + " is not among " + available.devices());
              }
            }),
        deviceCase(
            OPERATION,
            "unknown-property",
            c ->
                c.requireThrows(
                    IllegalArgumentException.class,
                    () -> c.openAgain(o -> o.property("conformance-no-such-property", "1")),
                    "conformance-no-such-property")),
        deviceCase(
            OPERATION,
            "open-twice",
            c -> {
              try (Device other = c.openAgain(o -> {})) {
                c.require(
                    other.openObjects().isEmpty(),
                    "a fresh device has open objects: " + other.openObjects());
              }
              c.tested().device().defaultStream().synchronize();
            }),
        deviceCase(
            OPERATION,
            "unknown-operation",
            c -> {
              Device device = c.tested().device();
              UnknownSpec spec = new UnknownSpec();
              Support support = device.supports(spec);
              c.require(!support.isSupported(), "supports: yes to an operation nobody knows");
              c.require(!support.reason().isBlank(), "supports: a no without a reason");
              c.requireThrows(
                  UnsupportedSpecException.class,
                  () -> device.prepare(spec).close(),
                  spec.text(),
                  support.reason());
            }));
  }

  /** An operation that no backend can know. */
  private static final class UnknownSpec extends OperationSpec<UnknownKernel> {
    @Override
    public String operation() {
      return "conformance.unknown";
    }

    @Override
    protected void describe(Description description) {
      description.option("size", 1);
    }

    @Override
    protected UnknownKernel wrap(Prepared prepared) {
      return new UnknownKernel(prepared);
    }
  }

  private static final class UnknownKernel extends Kernel<BackendKernel> {
    UnknownKernel(Prepared prepared) {
      super(prepared, BackendKernel.class);
    }

    @Override
    public long workspaceBytes(dev.weft.Limits limits) {
      return 0;
    }
  }
}
