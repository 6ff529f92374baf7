package dev.weft.cli;

import com.google.inject.Guice;
import com.google.inject.Injector;
import dev.weft.Device;
import dev.weft.DiscoveryReport;
import dev.weft.guice.OpenDevices;
import dev.weft.guice.WeftModule;
import jakarta.inject.Inject;
import jakarta.inject.Provider;
import jakarta.inject.Singleton;
import org.jspecify.annotations.Nullable;

/**
 * The backends and devices of this run. Nothing is looked for before a command asks, since looking
 * loads native libraries and {@code weft --help} needs none.
 */
@Singleton
final class Backends implements AutoCloseable {
  private final GlobalOptions options;
  private final Provider<DiscoveryReport> discovery;
  private @Nullable Injector injector;

  @Inject
  Backends(GlobalOptions options, Provider<DiscoveryReport> discovery) {
    this.options = options;
    this.discovery = discovery;
  }

  DiscoveryReport report() {
    return injector().getInstance(DiscoveryReport.class);
  }

  /** The device that the user chose, or the best. */
  Device device() {
    return injector().getInstance(Device.class);
  }

  /** A device by name. */
  Device device(String selector) {
    return injector().getInstance(OpenDevices.class).backend(selector);
  }

  private Injector injector() {
    Injector made = injector;
    if (made == null) {
      made =
          Guice.createInjector(
              binder -> binder.requireExplicitBindings(),
              new WeftModule(discovery.get()).choose(options.backend));
      injector = made;
    }
    return made;
  }

  @Override
  public void close() {
    Injector made = injector;
    if (made != null) {
      made.getInstance(OpenDevices.class).close();
    }
  }
}
