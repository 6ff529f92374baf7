package dev.weft;

import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.SpiVersion;
import java.util.List;

/** What is known of an open device, and why it was chosen. Immutable. */
public final class DeviceInfo {
  private final String providerId;
  private final SpiVersion spiVersion;
  private final DeviceDescriptor descriptor;
  private final List<String> passedOver;

  DeviceInfo(
      String providerId,
      SpiVersion spiVersion,
      DeviceDescriptor descriptor,
      List<String> passedOver) {
    this.providerId = providerId;
    this.spiVersion = spiVersion;
    this.descriptor = descriptor;
    this.passedOver = List.copyOf(passedOver);
  }

  /**
   * Returns the text that chooses this device.
   *
   * @return provider and index, such as {@code cuda:0}
   */
  public String selector() {
    return providerId + ":" + descriptor.index();
  }

  /**
   * Returns the provider.
   *
   * @return its id
   */
  public String providerId() {
    return providerId;
  }

  /**
   * Returns the SPI version that the provider was written for.
   *
   * @return the version
   */
  public SpiVersion spiVersion() {
    return spiVersion;
  }

  /**
   * Returns what the backend says of the device.
   *
   * @return the descriptor
   */
  public DeviceDescriptor descriptor() {
    return descriptor;
  }

  /**
   * Tells whether {@link Stream#capture} works.
   *
   * @return true if so
   */
  public boolean graphs() {
    return descriptor.graphs();
  }

  /**
   * Returns why providers of higher priority were not taken.
   *
   * @return a line for each, empty if the first was taken or the device was chosen by name
   */
  public List<String> passedOver() {
    return passedOver;
  }

  @Override
  public String toString() {
    return selector() + " (" + descriptor.name() + ")";
  }
}
