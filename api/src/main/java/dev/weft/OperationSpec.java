package dev.weft;

import dev.weft.spi.SpiVersion;
import java.util.StringJoiner;
import org.jspecify.annotations.Nullable;

/**
 * Says exactly what operation is wanted: everything that a kernel may be compiled for. Immutable.
 *
 * <p>Specs are open: anyone may write one, together with a subclass of {@link Kernel} that users
 * call and an extension of {@link dev.weft.spi.BackendKernel} that backends implement. A backend
 * that does not know a spec's class answers no.
 *
 * <p>Two specs of one class are equal iff their {@linkplain #text() canonical texts} are: the text
 * therefore names every option that is not at its default.
 *
 * @param <K> what {@link Device#prepare} returns for this spec
 */
public abstract class OperationSpec<K extends Kernel<?>> {
  private volatile @Nullable Description description;

  /** For subclasses. */
  protected OperationSpec() {}

  /**
   * Returns the operation's name: lower case, a dot between family and operation.
   *
   * @return a name such as {@code moba.attention}
   */
  public abstract String operation();

  /**
   * Lists every option, in a fixed order.
   *
   * @param description takes the options
   */
  protected abstract void describe(Description description);

  /**
   * Makes the object that users launch.
   *
   * @param prepared the backend's kernel and its device
   * @return the user's kernel
   */
  protected abstract K wrap(Prepared prepared);

  /**
   * Returns the canonical text: operation and options, used in reports and test ids.
   *
   * @return a text such as {@code moba.attention[type=bf16,heads=32,...]}
   */
  public final String text() {
    return operation() + '[' + description().joiner + ']';
  }

  /**
   * Returns the SPI version a provider must have been written for, to know every option that this
   * spec sets.
   *
   * @return the highest version that introduced an option set here
   */
  public final SpiVersion requiredSpi() {
    return description().required;
  }

  /**
   * Returns the option that needs {@link #requiredSpi()}.
   *
   * @return the option's name and value, or the operation's name
   */
  public final String newestOption() {
    return description().newest;
  }

  private Description description() {
    // Computed at most a few times: it is a pure function of immutable fields.
    Description d = description;
    if (d == null) {
      d = new Description(operation());
      describe(d);
      description = d;
    }
    return d;
  }

  @Override
  @SuppressWarnings("EqualsGetClass") // the class is the operation; two classes are never equal
  public final boolean equals(@Nullable Object other) {
    return other != null
        && other.getClass() == getClass()
        && ((OperationSpec<?>) other).text().equals(text());
  }

  @Override
  public final int hashCode() {
    return text().hashCode();
  }

  @Override
  public final String toString() {
    return text();
  }

  /** Collects a spec's options. */
  public static final class Description {
    private final StringJoiner joiner = new StringJoiner(",");
    private SpiVersion required = new SpiVersion(1, 0);
    private String newest;

    private Description(String operation) {
      newest = operation;
    }

    /**
     * Adds an option that is always named.
     *
     * @param name the option's name
     * @param value its value
     * @return this
     */
    public Description option(String name, Object value) {
      joiner.add(name + '=' + value);
      return this;
    }

    /**
     * Adds an option that is named only away from its default.
     *
     * @param name the option's name
     * @param value its value
     * @param defaultValue its default
     * @return this
     */
    public Description option(String name, Object value, Object defaultValue) {
      return option(name, value, defaultValue, new SpiVersion(1, 0));
    }

    /**
     * Adds an option that a later SPI introduced; named only away from its default.
     *
     * @param name the option's name
     * @param value its value
     * @param defaultValue its default
     * @param since the SPI version that introduced it
     * @return this
     */
    public Description option(String name, Object value, Object defaultValue, SpiVersion since) {
      if (!value.equals(defaultValue)) {
        joiner.add(name + '=' + value);
        if (since.compareTo(required) > 0) {
          required = since;
          newest = name + '=' + value;
        }
      }
      return this;
    }
  }
}
