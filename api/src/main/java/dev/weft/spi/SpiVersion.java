package dev.weft.spi;

/**
 * A version of this SPI. A provider of another major, or of a newer minor than the api's, is
 * refused; one of an older minor works, and never sees an option that its minor does not know.
 *
 * @param major changes when providers must be changed
 * @param minor grows when methods with defaults or options are added
 */
public record SpiVersion(int major, int minor) implements Comparable<SpiVersion> {
  /**
   * Returns the version of the api in use. A provider must not return this from {@link
   * KernelProvider#spiVersion()}: it returns the literal version that it was written for.
   *
   * @return the api's own version
   */
  public static SpiVersion current() {
    return new SpiVersion(1, 0);
  }

  /**
   * Tells whether an api of this version can use a provider.
   *
   * @param provider the version the provider was written for
   * @return true for the same major and a minor that is not newer
   */
  public boolean accepts(SpiVersion provider) {
    return provider.major == major && provider.minor <= minor;
  }

  @Override
  public int compareTo(SpiVersion other) {
    return major != other.major
        ? Integer.compare(major, other.major)
        : Integer.compare(minor, other.minor);
  }

  @Override
  public String toString() {
    return major + "." + minor;
  }
}
