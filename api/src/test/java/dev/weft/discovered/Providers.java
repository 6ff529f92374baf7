package dev.weft.discovered;

import dev.weft.BackendUnavailableException;
import dev.weft.DeviceOptions;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.util.List;

/**
 * Providers as jars may bring them, most of them broken. A test's own class loader defines them.
 */
public final class Providers {
  private Providers() {}

  /** What a provider that works says. */
  public abstract static class Working implements KernelProvider {
    private final String id;

    Working(String id) {
      this.id = id;
    }

    @Override
    public String id() {
      return id;
    }

    @Override
    public SpiVersion spiVersion() {
      return new SpiVersion(1, 0);
    }

    @Override
    public Probe probe() {
      return new Probe.Available(
          List.of(
              DeviceDescriptor.builder(0, "Device of " + id, DeviceDescriptor.Kind.CPU).build()));
    }

    @Override
    public BackendDevice open(DeviceDescriptor device, DeviceOptions options) {
      throw new BackendUnavailableException("opened by " + getClass().getClassLoader(), null);
    }
  }

  public static final class Good extends Working {
    public Good() {
      super("good");
    }
  }

  public static final class Twin extends Working {
    public Twin() {
      super("good");
    }
  }

  public static final class ConstructorThrows extends Working {
    public ConstructorThrows() {
      super("x");
      throw new IllegalStateException("constructor boom");
    }
  }

  public static final class IdNull extends Working {
    @SuppressWarnings("NullAway") // broken on purpose
    public IdNull() {
      super(null);
    }
  }

  public static final class IdIllegal extends Working {
    public IdIllegal() {
      super("Not An Id");
    }
  }

  public static final class IdThrows extends Working {
    public IdThrows() {
      super("x");
    }

    @Override
    public String id() {
      throw new UnsatisfiedLinkError("id boom");
    }
  }

  public static final class ProbeThrows extends Working {
    public ProbeThrows() {
      super("probe-throws");
    }

    @Override
    public Probe probe() {
      throw new NoClassDefFoundError("probe boom");
    }
  }

  public static final class ProbeNull extends Working {
    public ProbeNull() {
      super("probe-null");
    }

    @Override
    @SuppressWarnings("NullAway") // broken on purpose
    public Probe probe() {
      return null;
    }
  }

  public static final class OtherMajor extends Working {
    public OtherMajor() {
      super("other-major");
    }

    @Override
    public SpiVersion spiVersion() {
      return new SpiVersion(7, 0);
    }
  }

  public static final class NewerMinor extends Working {
    public NewerMinor() {
      super("newer-minor");
    }

    @Override
    public SpiVersion spiVersion() {
      return new SpiVersion(1, 99);
    }
  }

  /** A type whose jar is not there. */
  public interface Missing {}

  public static final class NeedsMissing extends Working implements Missing {
    public NeedsMissing() {
      super("needs-missing");
    }
  }
}
