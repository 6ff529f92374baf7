package dev.weft.guice;

import com.google.inject.AbstractModule;
import com.google.inject.Binder;
import com.google.inject.Key;
import com.google.inject.Provider;
import com.google.inject.Scopes;
import com.google.inject.multibindings.Multibinder;
import com.google.inject.multibindings.OptionalBinder;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.DiscoveryReport;
import dev.weft.Weft;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Binds Weft for Guice. Creating the injector looks for providers and asks each for its devices; no
 * device is opened before one is injected.
 *
 * <ul>
 *   <li>{@link Device}: the chosen one, by {@link #choose}, else {@code -Dweft.backend}, else
 *       {@code WEFT_BACKEND}, else priority, as {@link Weft#open(DiscoveryReport, String,
 *       DeviceOptions)}
 *   <li>{@link Backend @Backend("ID")} and {@code @Backend("ID:INDEX")} {@link Device}, for each
 *       provider and each of its devices
 *   <li>{@code Set<KernelProvider>}: a {@link Multibinder}, filled with the providers that were
 *       found. An application adds its own with {@link #addProvider}, or through the multibinder
 *       (then without a {@code @Backend} binding); they take part in the choice
 *   <li>{@link DiscoveryReport}: all of them, and why some are unavailable
 *   <li>{@link DeviceOptions}: {@link DeviceOptions#defaults()}, an {@link OptionalBinder} default
 *       that an application can override
 *   <li>{@link OpenDevices}: closes what was opened
 * </ul>
 *
 * <p>All of these are one per injector. The library itself needs no Guice.
 */
public final class WeftModule extends AbstractModule {
  private final @Nullable DiscoveryReport found;
  private final Supplier<@Nullable String> choice;

  /** Binds what {@link Weft#discover()} finds when the injector is created. */
  public WeftModule() {
    this(null, () -> null);
  }

  /**
   * Binds what was found before, for example with another class loader.
   *
   * @param found the providers to bind
   */
  public WeftModule(DiscoveryReport found) {
    this(found, () -> null);
  }

  private WeftModule(@Nullable DiscoveryReport found, Supplier<@Nullable String> choice) {
    this.found = found;
    this.choice = choice;
  }

  /**
   * Names the device to choose.
   *
   * @param selector {@code ID} or {@code ID:INDEX}; null or blank to go by property, environment,
   *     priority
   * @return a module with that choice
   */
  public WeftModule choose(@Nullable String selector) {
    return new WeftModule(found, () -> selector);
  }

  /**
   * Adds a provider of the application's own, whose id is not taken: to the set, and so to the
   * choice, and as {@link Backend @Backend} of its id. It is asked for its id now, and for its
   * devices when the report is first needed.
   *
   * @param binder of the application's module
   * @param provider the provider
   */
  public static void addProvider(Binder binder, KernelProvider provider) {
    providers(binder).addBinding().toInstance(provider);
    bindBackend(binder, provider.id());
  }

  @Override
  protected void configure() {
    DiscoveryReport discovered = found == null ? Weft.discover() : found;
    Multibinder<KernelProvider> providers = providers(binder());
    for (DiscoveryReport.Entry entry : discovered.entries()) {
      KernelProvider instance = entry.provider();
      if (instance != null) {
        providers.addBinding().toInstance(instance);
        bindBackend(binder(), entry.id());
        for (DeviceDescriptor device : entry.devices()) {
          bindBackend(binder(), entry.id() + ":" + device.index());
        }
      }
    }

    OptionalBinder.newOptionalBinder(binder(), DeviceOptions.class)
        .setDefault()
        .toProvider(DeviceOptions::defaults);

    // Providers made here, and no @Provides methods, for which Guice would generate classes.
    Provider<Set<KernelProvider>> all = getProvider(new Key<Set<KernelProvider>>() {});
    bind(DiscoveryReport.class)
        .toProvider(() -> discovered.with(added(discovered, all.get())))
        .in(Scopes.SINGLETON);
    Provider<DiscoveryReport> report = getProvider(DiscoveryReport.class);
    Provider<DeviceOptions> options = getProvider(DeviceOptions.class);
    bind(OpenDevices.class)
        .toProvider(() -> new OpenDevices(report.get(), choice, options.get()))
        .in(Scopes.SINGLETON);

    // In no scope: a singleton would be opened by Stage.PRODUCTION. OpenDevices opens each once.
    Provider<OpenDevices> devices = getProvider(OpenDevices.class);
    bind(Device.class).toProvider(() -> devices.get().chosen());
  }

  private static void bindBackend(Binder binder, String selector) {
    Provider<OpenDevices> devices = binder.getProvider(OpenDevices.class);
    binder
        .bind(Device.class)
        .annotatedWith(Backends.backend(selector))
        .toProvider(() -> devices.get().backend(selector));
  }

  private static Multibinder<KernelProvider> providers(Binder binder) {
    return Multibinder.newSetBinder(binder, KernelProvider.class);
  }

  /** Those that the report does not have, by identity: it has asked its own already. */
  private static List<KernelProvider> added(DiscoveryReport report, Set<KernelProvider> all) {
    List<KernelProvider> added = new ArrayList<>(all);
    for (DiscoveryReport.Entry entry : report.entries()) {
      added.removeIf(provider -> isSame(provider, entry.provider()));
    }
    return added;
  }

  @SuppressWarnings("ReferenceEquality") // two instances of one class are two providers
  private static boolean isSame(KernelProvider one, @Nullable KernelProvider other) {
    return one == other;
  }
}
