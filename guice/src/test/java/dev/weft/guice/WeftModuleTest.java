package dev.weft.guice;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.inject.AbstractModule;
import com.google.inject.Binder;
import com.google.inject.ConfigurationException;
import com.google.inject.Guice;
import com.google.inject.Injector;
import com.google.inject.Key;
import com.google.inject.Module;
import com.google.inject.ProvisionException;
import com.google.inject.Stage;
import com.google.inject.multibindings.Multibinder;
import com.google.inject.multibindings.OptionalBinder;
import dev.weft.BackendUnavailableException;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.DiscoveryReport;
import dev.weft.Weft;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Probe;
import jakarta.inject.Inject;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class WeftModuleTest {
  private final FakeProvider fast = new FakeProvider("fast", 20);
  private final FakeProvider slow = new FakeProvider("slow", 10);
  private final DiscoveryReport found = Weft.discover(List.of(slow, fast));

  @Test
  void creatingAnInjectorOpensNoDeviceInAnyStage() {
    for (Stage stage : new Stage[] {Stage.DEVELOPMENT, Stage.PRODUCTION}) {
      Injector injector = Guice.createInjector(stage, strict(), new WeftModule(found));
      injector.getInstance(DiscoveryReport.class);
      injector.getInstance(new Key<Set<KernelProvider>>() {});
      injector.getInstance(OpenDevices.class).close();
    }
    assertEquals(List.of(), fast.log);
    assertEquals(List.of(), slow.log);
  }

  @Test
  void theChosenDeviceIsOpenedOnceAndClosedWithTheRest() {
    Injector injector =
        Guice.createInjector(strict(), new WeftModule(found), explicitly(NeedsDevices.class));
    NeedsDevices needs = injector.getInstance(NeedsDevices.class);
    assertEquals("fast:0", needs.chosen.info().selector());
    assertEquals("slow:0", needs.slow.info().selector());
    assertSame(needs.chosen, injector.getInstance(Device.class));
    assertSame(needs.slow, injector.getInstance(Key.get(Device.class, Backends.backend("slow"))));
    assertSame(needs.slow, injector.getInstance(Key.get(Device.class, Backends.backend("slow:0"))));
    assertNotSame(
        needs.slow, injector.getInstance(Key.get(Device.class, Backends.backend("slow:1"))));

    OpenDevices devices = injector.getInstance(OpenDevices.class);
    devices.close();
    devices.close();
    assertEquals(List.of("open 0", "close 0"), fast.log);
    assertEquals(List.of("open 0", "open 1", "close 1", "close 0"), slow.log);
    assertThrows(IllegalStateException.class, devices::chosen);
  }

  @Test
  void aNamedChoiceGoesBeforePriority() {
    Injector injector = Guice.createInjector(new WeftModule(found).choose("slow:1"));
    assertEquals("slow:1", injector.getInstance(Device.class).info().selector());
    assertEquals(List.of(), fast.log);
  }

  @Test
  void anUnknownChoiceListsTheKnownIds() {
    Injector injector = Guice.createInjector(new WeftModule(found).choose("cuda"));
    ProvisionException e =
        assertThrows(ProvisionException.class, () -> injector.getInstance(Device.class));
    assertInstanceOf(IllegalArgumentException.class, e.getCause());
    assertMessage("expected one of [fast, slow]", e);
  }

  @Test
  void aBackendThatIsNotThereIsNotBound() {
    Injector injector = Guice.createInjector(new WeftModule(found));
    assertThrows(
        ConfigurationException.class,
        () -> injector.getInstance(Key.get(Device.class, Backends.backend("cuda"))));
  }

  @Test
  void anUnavailableBackendIsBoundAndSaysWhyWhenInjected() {
    KernelProvider broken =
        new UnavailableProvider("gone", new Probe.Unavailable("no driver", "install one", null));
    Injector injector = Guice.createInjector(new WeftModule(Weft.discover(List.of(broken, slow))));
    assertEquals("slow:0", injector.getInstance(Device.class).info().selector());
    ProvisionException e =
        assertThrows(
            ProvisionException.class,
            () -> injector.getInstance(Key.get(Device.class, Backends.backend("gone"))));
    assertInstanceOf(BackendUnavailableException.class, e.getCause());
    assertMessage("no driver; install one", e);
  }

  @Test
  void providersOfTheApplicationTakePartInTheChoice() {
    FakeProvider own = new FakeProvider("own", 90);
    FakeProvider bare = new FakeProvider("bare", 50);
    Injector injector =
        Guice.createInjector(
            strict(),
            new WeftModule(found),
            binder -> {
              WeftModule.addProvider(binder, own);
              Multibinder.newSetBinder(binder, KernelProvider.class).addBinding().toInstance(bare);
            });
    assertEquals(
        Set.of(fast, slow, own, bare), injector.getInstance(new Key<Set<KernelProvider>>() {}));
    assertEquals(
        List.of("own", "bare", "fast", "slow"), injector.getInstance(DiscoveryReport.class).ids());
    assertEquals("own:0", injector.getInstance(Device.class).info().selector());
    assertEquals(
        "own:0",
        injector.getInstance(Key.get(Device.class, Backends.backend("own"))).info().selector());
    assertEquals(1, fast.probes, "a provider that was discovered is not asked again");
    assertEquals(1, own.probes);
  }

  @Test
  void aSecondProviderOfAnIdIsRefusedAndTheReportSaysSo() {
    FakeProvider second = new FakeProvider("slow", 99);
    DiscoveryReport report = found.with(List.of(second));
    assertEquals(List.of("fast", "slow"), report.ids());
    assertSame(slow, report.provider("slow").orElseThrow().provider());
    String problem = report.entries().getLast().problem();
    assertTrue(problem.contains("the id 'slow' is already taken"), problem);
  }

  @Test
  void optionsCanBeOverridden() {
    DeviceOptions options = DeviceOptions.builder().synchronous(true).build();
    Injector injector =
        Guice.createInjector(
            new WeftModule(found),
            binder ->
                OptionalBinder.newOptionalBinder(binder, DeviceOptions.class)
                    .setBinding()
                    .toInstance(options));
    assertSame(options, injector.getInstance(Device.class).options());
    assertFalse(
        Guice.createInjector(new WeftModule(found))
            .getInstance(Device.class)
            .options()
            .synchronous());
  }

  @Test
  void closingGoesOnWhenADeviceFailsToClose() {
    FakeProvider failing = new FakeProvider("failing", 0, true);
    Injector injector = Guice.createInjector(new WeftModule(Weft.discover(List.of(fast, failing))));
    injector.getInstance(Device.class);
    injector.getInstance(Key.get(Device.class, Backends.backend("failing")));
    OpenDevices devices = injector.getInstance(OpenDevices.class);
    RuntimeException e = assertThrows(RuntimeException.class, devices::close);
    assertMessage("failing", e);
    assertEquals(List.of("open 0", "close 0"), fast.log);
  }

  @Test
  void theAnnotationEqualsWhatTheCompilerMakes() {
    Backend compiled =
        NeedsDevices.class.getDeclaredConstructors()[0].getParameters()[1].getAnnotation(
            Backend.class);
    assertEquals(compiled, Backends.backend("slow"));
    assertEquals(compiled.hashCode(), Backends.backend("slow").hashCode());
    assertEquals(Backends.backend("slow"), compiled);
  }

  @Test
  void theCpuBackendIsFoundAndOpened() {
    Injector injector = Guice.createInjector(strict(), new WeftModule().choose("cpu"));
    try (OpenDevices devices = injector.getInstance(OpenDevices.class)) {
      assertEquals("cpu:0", injector.getInstance(Device.class).info().selector());
      assertEquals(
          "reference:0",
          injector
              .getInstance(Key.get(Device.class, Backends.backend("reference")))
              .info()
              .selector());
      assertSame(devices.chosen(), injector.getInstance(Device.class));
    }
  }

  private static void assertMessage(String part, Throwable thrown) {
    String message = String.valueOf(thrown.getMessage());
    assertTrue(message.contains(part), message);
  }

  private static Module strict() {
    return new AbstractModule() {
      @Override
      protected void configure() {
        binder().requireExplicitBindings();
        binder().requireAtInjectOnConstructors();
        binder().requireExactBindingAnnotations();
      }
    };
  }

  private static Module explicitly(Class<?> type) {
    return (Binder binder) -> binder.bind(type);
  }

  static final class NeedsDevices {
    final Device chosen;
    final Device slow;

    @Inject
    NeedsDevices(Device chosen, @Backend("slow") Device slow) {
      this.chosen = chosen;
      this.slow = slow;
    }
  }
}
