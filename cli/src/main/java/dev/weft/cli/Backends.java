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
  private @Nullable ProviderJars jars;

  @Inject
  Backends(GlobalOptions options, Provider<DiscoveryReport> discovery) {
    this.options = options;
    this.discovery = discovery;
  }

  DiscoveryReport report() {
    return injector().getInstance(DiscoveryReport.class);
  }

  /** The device that the user chose, or of the backend in the jars, or the best. */
  Device device() {
    DiscoveryReport report = report();
    ProviderJars opened = jars;
    if (opened != null && options.backend == null) {
      return device(opened.onlyBackend(report));
    }
    return injector().getInstance(Device.class);
  }

  /** A device by name. */
  Device device(String selector) {
    return injector().getInstance(OpenDevices.class).backend(selector);
  }

  private Injector injector() {
    Injector made = injector;
    if (made == null) {
      DiscoveryReport report;
      if (options.providerJars.isEmpty()) {
        report = discovery.get();
      } else {
        ProviderJars opened = ProviderJars.open(options.providerJars);
        jars = opened;
        report = opened.discover();
      }
      made =
          Guice.createInjector(
              binder -> binder.requireExplicitBindings(),
              new WeftModule(report).choose(options.backend));
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
    ProviderJars opened = jars;
    if (opened != null) {
      opened.close();
    }
  }
}
