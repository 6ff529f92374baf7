package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.discovered.Providers;
import dev.weft.fake.FakeProvider;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.SpiVersion;
import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.Enumeration;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** One broken provider hides no other, and every choice is the one that was asked for. */
class DiscoveryTest {
  private static final String PREFIX = Providers.class.getName();

  @TempDir Path folder;

  /** Defines the providers itself, all but one type, as a plugin's loader does. */
  private static final class PluginLoader extends ClassLoader {
    private final URL serviceFile;

    PluginLoader(URL serviceFile) {
      super(DiscoveryTest.class.getClassLoader());
      this.serviceFile = serviceFile;
    }

    @Override
    public String toString() {
      return "plugin loader";
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
      if (!name.startsWith(PREFIX)) {
        return super.loadClass(name, resolve);
      }
      synchronized (getClassLoadingLock(name)) {
        Class<?> loaded = findLoadedClass(name);
        return loaded == null ? define(name) : loaded;
      }
    }

    private Class<?> define(String name) throws ClassNotFoundException {
      String file = name.substring(name.lastIndexOf('.') + 1) + ".class";
      try (InputStream in =
          name.endsWith("$Missing") ? null : Providers.class.getResourceAsStream(file)) {
        if (in == null) {
          throw new ClassNotFoundException(name);
        }
        byte[] bytes = in.readAllBytes();
        return defineClass(name, bytes, 0, bytes.length);
      } catch (IOException e) {
        throw new ClassNotFoundException(name, e);
      }
    }

    @Override
    protected Enumeration<URL> findResources(String name) {
      return name.equals("META-INF/services/" + KernelProvider.class.getName())
          ? Collections.enumeration(List.of(serviceFile))
          : Collections.emptyEnumeration();
    }
  }

  private PluginLoader loader(String... simpleNames) throws IOException {
    Path file = folder.resolve("services");
    Files.write(
        file,
        Stream.concat(Stream.of("# a comment"), Stream.of(simpleNames).map(n -> PREFIX + "$" + n))
            .toList());
    return new PluginLoader(file.toUri().toURL());
  }

  private static DiscoveryReport.Entry entry(DiscoveryReport report, String simpleName) {
    return report.entries().stream()
        .filter(e -> e.className().equals(PREFIX + "$" + simpleName))
        .findFirst()
        .orElseThrow(() -> new AssertionError(simpleName + " is not in\n" + report));
  }

  @Test
  void everyBrokenProviderIsReportedByNameAndHidesNoOther() throws IOException {
    DiscoveryReport report =
        Weft.discover(
            loader(
                "ConstructorThrows",
                "NeedsMissing",
                "IdNull",
                "NoSuchClass",
                "IdIllegal",
                "IdThrows",
                "ProbeThrows",
                "ProbeNull",
                "OtherMajor",
                "NewerMinor",
                "Good",
                "Twin"));
    assertEquals(12, report.entries().size(), report.toString());
    assertEquals("", entry(report, "Good").problem());
    assertEquals(1, entry(report, "Good").devices().size());
    assertProblem(report, "ConstructorThrows", "constructor boom");
    assertProblem(report, "NeedsMissing", "Providers$Missing");
    assertProblem(report, "IdNull", "its id 'null'");
    assertProblem(report, "NoSuchClass", "not found");
    assertProblem(report, "IdIllegal", "its id 'Not An Id'");
    assertProblem(report, "IdThrows", "id boom");
    assertProblem(report, "ProbeThrows", "probe boom");
    assertProblem(report, "ProbeNull", "probe() returned null");
    assertProblem(report, "OtherMajor", "7.0");
    assertProblem(report, "OtherMajor", SpiVersion.current().toString());
    assertProblem(report, "NewerMinor", "1.99");
    assertProblem(report, "NewerMinor", SpiVersion.current().toString());
    assertProblem(report, "Twin", "already taken by " + PREFIX + "$Good");
    assertEquals(List.of("good", "probe-null", "probe-throws"), report.ids());
    assertTrue(report.toString().contains(PREFIX + "$NeedsMissing"), report.toString());
  }

  private static void assertProblem(DiscoveryReport report, String simpleName, String part) {
    DiscoveryReport.Entry entry = entry(report, simpleName);
    assertEquals(List.of(), entry.devices());
    assertTrue(entry.problem().contains(part), entry.problem());
  }

  @Test
  void aChildLoaderIsSearchedAndNothingIsCached() throws IOException {
    PluginLoader loader = loader("Good");
    KernelProvider first =
        Objects.requireNonNull(Weft.discover(loader).provider("good").orElseThrow().provider());
    KernelProvider second = Weft.discover(loader).provider("good").orElseThrow().provider();
    assertNotSame(first, second);
    assertSame(loader, first.getClass().getClassLoader());
    Thread thread = Thread.currentThread();
    ClassLoader before = thread.getContextClassLoader();
    thread.setContextClassLoader(loader);
    try {
      assertEquals(List.of("good"), Weft.discover().ids());
      assertMentions(
          assertThrows(BackendUnavailableException.class, () -> Weft.open("good")),
          "opened by plugin loader");
    } finally {
      thread.setContextClassLoader(before);
    }
    assertFalse(Weft.discover().ids().contains("good"));
    assertEquals(List.of(), Weft.discover(ModuleLayer.empty()).ids());
  }

  @Test
  void anEndlesslyFailingLoaderEnds() {
    ClassLoader failing =
        new ClassLoader(null) {
          @Override
          public Enumeration<URL> getResources(String name) throws IOException {
            throw new IOException("disk gone");
          }
        };
    DiscoveryReport report = Weft.discover(failing);
    assertTrue(report.entries().size() <= 100);
    assertTrue(report.toString().contains("disk gone"), report.toString());
  }

  private static Device open(
      List<? extends KernelProvider> providers,
      @Nullable String choice,
      @Nullable String property,
      @Nullable String environment) {
    return Weft.open(
        Weft.discover(providers), choice, property, environment, DeviceOptions.defaults());
  }

  private static List<FakeProvider> abc() {
    return List.of(
        new FakeProvider().id("a").priority(1),
        new FakeProvider().id("b").priority(3),
        new FakeProvider().id("c").priority(2),
        new FakeProvider().id("d").priority(0));
  }

  private static String chosen(
      @Nullable String choice, @Nullable String property, @Nullable String environment) {
    try (Device device = open(abc(), choice, property, environment)) {
      return device.info().selector();
    }
  }

  @Test
  void theOrderIsArgumentPropertyEnvironmentPriority() {
    assertEquals("a:0", chosen("a", "c", "d"));
    assertEquals("c:0", chosen(null, "c", "d"));
    assertEquals("c:0", chosen(" ", "c", "d"));
    assertEquals("d:0", chosen(null, null, "d"));
    assertEquals("d:0", chosen(null, "", "d"));
    assertEquals("b:0", chosen(null, null, null));
    assertEquals("b:0", chosen(null, "", " "));
  }

  @Test
  void tiesGoByIdAndEntriesAreInOrderOfChoice() {
    DiscoveryReport report =
        Weft.discover(
            List.of(
                new FakeProvider().id("z").priority(5),
                new FakeProvider().id("y").priority(5),
                new FakeProvider().id("n").priority(-1),
                new FakeProvider().id("x").priority(6)));
    assertEquals(List.of("x", "y", "z", "n"), report.ids());
  }

  @Test
  void aProviderMayRankItselfByWhatItFound() {
    FakeProvider portable =
        new FakeProvider().id("p").priority(100).rankedBy(found -> found.size() > 1 ? 100 : 1);
    FakeProvider plain = new FakeProvider().id("q").priority(50);
    assertEquals(List.of("q", "p"), Weft.discover(List.of(portable, plain)).ids());
    portable.devices("one", "two");
    assertEquals(List.of("p", "q"), Weft.discover(List.of(portable, plain)).ids());
    portable.unavailable("no driver");
    DiscoveryReport report = Weft.discover(List.of(portable, plain));
    assertEquals(List.of("p", "q"), report.ids(), "nothing was found, so priority() counts");
    assertEquals(100, report.entries().getFirst().priority());
  }

  @Test
  void anUnknownIdIsAnErrorThatListsTheKnownOnesAndSaysWhereItCameFrom() {
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> open(abc(), null, "cudda", null));
    assertMentions(e, "'cudda'", "-Dweft.backend", "[b, c, a, d]");
    e = assertThrows(IllegalArgumentException.class, () -> open(abc(), "q:1", null, null));
    assertMentions(e, "'q'", "the argument");
    e = assertThrows(IllegalArgumentException.class, () -> open(abc(), null, null, "q"));
    assertMentions(e, "WEFT_BACKEND");
  }

  @Test
  void anExplicitlyChosenBackendThatFailsIsAnError() {
    List<FakeProvider> providers =
        List.of(
            new FakeProvider().id("down").unavailable("no driver"),
            new FakeProvider().id("up").priority(9),
            new FakeProvider()
                .id("crash")
                .onOpen(o -> {
                  throw new UnsatisfiedLinkError("libfoo");
                }),
            new FakeProvider().id("old").version(2, 5));
    assertMentions(
        assertThrows(BackendUnavailableException.class, () -> open(providers, "down", null, null)),
        "'down'",
        "no driver",
        "mend it");
    assertMentions(
        assertThrows(ProviderException.class, () -> open(providers, null, "crash", null)),
        "'crash'",
        "libfoo");
    assertMentions(
        assertThrows(BackendUnavailableException.class, () -> open(providers, "old", null, null)),
        "'old'",
        "2.5",
        SpiVersion.current().toString());
  }

  @Test
  void automaticChoiceGoesOnToTheNextAndSaysWhy() {
    List<FakeProvider> providers =
        List.of(
            new FakeProvider().id("down").priority(9).unavailable("no driver"),
            new FakeProvider()
                .id("crash")
                .priority(8)
                .onOpen(o -> {
                  throw new IllegalStateException("boom");
                }),
            new FakeProvider()
                .id("busy")
                .priority(7)
                .onOpen(o -> {
                  throw new BackendUnavailableException("taken by another; wait", null);
                }),
            new FakeProvider()
                .id("strict")
                .priority(6)
                .onOpen(o -> {
                  throw new IllegalArgumentException("unknown property 'cuda.arch'");
                }),
            new FakeProvider().id("up").priority(1));
    try (Device device = open(providers, null, null, null)) {
      assertEquals("up:0", device.info().selector());
      List<String> passedOver = device.info().passedOver();
      assertEquals(4, passedOver.size());
      assertTrue(passedOver.get(0).contains("down: no driver; mend it"), passedOver.get(0));
      assertTrue(passedOver.get(1).contains("boom"), passedOver.get(1));
      assertTrue(passedOver.get(2).contains("taken by another"), passedOver.get(2));
      assertTrue(passedOver.get(3).contains("cuda.arch"), passedOver.get(3));
    }
    assertThrows(IllegalArgumentException.class, () -> open(providers, "strict", null, null));
  }

  @Test
  void aNegativePriorityIsNeverChosenAutomatically() {
    List<FakeProvider> providers =
        List.of(
            new FakeProvider().id("oracle").priority(-1),
            new FakeProvider().id("down").unavailable("no driver"));
    assertMentions(
        assertThrows(BackendUnavailableException.class, () -> open(providers, null, null, null)),
        "down: no driver");
    open(providers, "oracle", null, null).close();
    assertMentions(
        assertThrows(BackendUnavailableException.class, () -> open(List.of(), null, null, null)),
        "add a weft-backend-* jar");
  }

  @Test
  void aDeviceIsChosenByIndexOrPartOfItsName() {
    FakeProvider provider = new FakeProvider().devices("Acme 100", "Acme 200", "Bolt 1");
    try (Device first = Weft.open(provider, null, DeviceOptions.defaults());
        Device byIndex = Weft.open(provider, "1", DeviceOptions.defaults());
        Device byName = Weft.open(provider, "bOLT", DeviceOptions.defaults());
        Device byText = open(List.of(provider), "fake:2", null, null);
        Device byPart = open(List.of(provider), "fake:acme 2", null, null)) {
      assertEquals("fake:0", first.info().selector());
      assertEquals("fake:1", byIndex.info().selector());
      assertEquals("fake:2", byName.info().selector());
      assertEquals("fake:2", byText.info().selector());
      assertEquals("fake:1", byPart.info().selector());
      assertEquals("fake:1 (Acme 200)", byPart.toString());
    }
    for (String none : List.of("3", "100", "quux")) {
      BackendUnavailableException e =
          assertThrows(
              BackendUnavailableException.class,
              () -> Weft.open(provider, none, DeviceOptions.defaults()));
      assertMentions(e, "no device '" + none + "'", "0: Acme 100", "2: Bolt 1");
    }
  }

  @Test
  void anInstanceIsExaminedLikeADiscoveredOne() {
    assertMentions(
        assertThrows(BackendUnavailableException.class, () -> new FakeProvider().id("NO").open()),
        "its id 'NO'");
    assertMentions(
        assertThrows(
            BackendUnavailableException.class, () -> new FakeProvider().version(1, 99).open()),
        "1.99");
    assertMentions(
        assertThrows(
            BackendUnavailableException.class,
            () ->
                new FakeProvider()
                    .probe(() -> {
                      throw new IllegalStateException("probe boom");
                    })
                    .open()),
        "probe boom");
  }

  @Test
  void onlyAnOlderOrEqualMinorOfTheSameMajorIsAccepted() {
    SpiVersion api = new SpiVersion(1, 2);
    assertTrue(api.accepts(new SpiVersion(1, 0)));
    assertTrue(api.accepts(new SpiVersion(1, 2)));
    assertFalse(api.accepts(new SpiVersion(1, 3)));
    assertFalse(api.accepts(new SpiVersion(2, 0)));
    assertFalse(api.accepts(new SpiVersion(0, 2)));
    assertTrue(new SpiVersion(1, 9).compareTo(new SpiVersion(2, 0)) < 0);
    assertTrue(new SpiVersion(1, 9).compareTo(new SpiVersion(1, 10)) < 0);
  }
}
