package dev.weft.fake;

import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.Weft;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.function.ToIntFunction;
import org.jspecify.annotations.Nullable;

/** A provider in memory, whose answers a test can set. */
public final class FakeProvider implements KernelProvider {
  private @Nullable ToIntFunction<List<DeviceDescriptor>> rank;
  private String id = "fake";
  private SpiVersion version = new SpiVersion(1, 0);
  private int priority;
  private boolean graphs = true;
  private long capacity = 1 << 20;
  private Supplier<Probe> probe = () -> new Probe.Available(List.of(descriptor(0, "Fake One")));
  private Consumer<DeviceOptions> onOpen = options -> {};
  private final List<FakeDevice> opened = new ArrayList<>();

  /** As a service file makes it. */
  public FakeProvider() {}

  public FakeProvider id(String id) {
    this.id = id;
    return this;
  }

  public FakeProvider version(int major, int minor) {
    version = new SpiVersion(major, minor);
    return this;
  }

  public FakeProvider priority(int priority) {
    this.priority = priority;
    return this;
  }

  public FakeProvider graphs(boolean graphs) {
    this.graphs = graphs;
    return this;
  }

  public FakeProvider capacity(long bytes) {
    capacity = bytes;
    return this;
  }

  public FakeProvider devices(String... names) {
    List<DeviceDescriptor> devices = new ArrayList<>();
    for (String name : names) {
      devices.add(descriptor(devices.size(), name));
    }
    return probe(() -> new Probe.Available(devices));
  }

  /** Ranks itself by what it finds. */
  public FakeProvider rankedBy(ToIntFunction<List<DeviceDescriptor>> rank) {
    this.rank = rank;
    return this;
  }

  public FakeProvider unavailable(String reason) {
    return probe(() -> new Probe.Unavailable(reason, "mend it", null));
  }

  public FakeProvider probe(Supplier<Probe> probe) {
    this.probe = probe;
    return this;
  }

  public FakeProvider onOpen(Consumer<DeviceOptions> onOpen) {
    this.onOpen = onOpen;
    return this;
  }

  public Device open() {
    return open(DeviceOptions.defaults());
  }

  public Device open(DeviceOptions options) {
    return Weft.open(this, null, options);
  }

  /** The backend's side of the device opened last. */
  public FakeDevice device() {
    return opened.getLast();
  }

  private DeviceDescriptor descriptor(int index, String name) {
    return DeviceDescriptor.builder(index, name, DeviceDescriptor.Kind.OTHER)
        .graphs(graphs)
        .build();
  }

  @Override
  public String id() {
    return id;
  }

  @Override
  public SpiVersion spiVersion() {
    return version;
  }

  @Override
  public int priority() {
    return priority;
  }

  @Override
  public int priority(List<DeviceDescriptor> found) {
    return rank == null ? priority : rank.applyAsInt(found);
  }

  @Override
  public Probe probe() {
    return probe.get();
  }

  @Override
  public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    onOpen.accept(options);
    FakeDevice made = new FakeDevice(descriptor(device.index(), device.name()), capacity);
    opened.add(made);
    return made;
  }
}
