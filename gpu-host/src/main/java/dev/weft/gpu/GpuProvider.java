package dev.weft.gpu;

import dev.weft.BackendUnavailableException;
import dev.weft.DeviceOptions;
import dev.weft.WeftException;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.List;

/** What the providers of GPU backends have in common: how they answer, with devices or without. */
public abstract class GpuProvider implements KernelProvider {
  /** Below provider cpu, which has the same number and comes first by its id. */
  private static final int CPU_ONLY = 0;

  private final String id;
  private final int priority;
  private final String lookAt;

  /**
   * Does nothing else, as the SPI asks of constructors.
   *
   * @param id the provider's name
   * @param priority where the first device is no CPU
   * @param lookAt what a user can look at when the driver is there and does not work
   */
  protected GpuProvider(String id, int priority, String lookAt) {
    this.id = id;
    this.priority = priority;
    this.lookAt = lookAt;
  }

  @Override
  public final String id() {
    return id;
  }

  @Override
  public final SpiVersion spiVersion() {
    return new SpiVersion(1, 0);
  }

  @Override
  public final int priority() {
    return priority;
  }

  @Override
  public final int priority(List<DeviceDescriptor> found) {
    return found.getFirst().kind() == DeviceDescriptor.Kind.CPU ? CPU_ONLY : priority;
  }

  /** Loads the driver and describes its devices, at least one. */
  protected abstract List<DeviceDescriptor> devices() throws NotUsableException;

  /**
   * Opens one of {@link #devices()}, or says {@link #gone} of it.
   *
   * @param index its number there
   * @param options whose properties are checked before the driver is loaded
   */
  protected abstract BackendDevice open(int index, DeviceOptions options) throws NotUsableException;

  /** That a device which was found is not there any more. */
  protected final NotUsableException gone(int index) {
    return new NotUsableException("there is no device " + index + " any more", lookAt, null);
  }

  /** Refuses properties, of a provider that knows none. */
  protected final void refuseProperties(DeviceOptions options) {
    for (String property : options.properties().keySet()) {
      throw new IllegalArgumentException(
          id + ": unknown property '" + property + "'; it knows none");
    }
  }

  @Override
  public final Probe probe() {
    try {
      return new Probe.Available(devices());
    } catch (NotUsableException e) {
      return new Probe.Unavailable(e.reason(), e.remedy(), e.getCause());
    } catch (WeftException e) {
      return new Probe.Unavailable(String.valueOf(e.getMessage()), lookAt, e);
    }
  }

  @Override
  public final BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
    try {
      return open(device.index(), options);
    } catch (NotUsableException e) {
      throw new BackendUnavailableException(id + ": " + e.reason() + "; " + e.remedy(), e);
    }
  }
}
