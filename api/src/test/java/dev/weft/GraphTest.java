package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.fake.FakeProvider;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Captures record, keep alive what they name, and are ordered with all else that uses their
 * scratch.
 */
@Timeout(30)
class GraphTest {
  private final FakeProvider provider = new FakeProvider();
  private final Attention attention = new Attention(provider);
  private final Device device = attention.device;
  private final Stream stream = attention.stream;

  @AfterEach
  void theApiUsedTheBackendWell() {
    device.close();
    assertEquals(List.of(), attention.fake.violations());
  }

  private long runs() {
    return attention.fake.log().stream().filter("run moba.forward"::equals).count();
  }

  @Test
  void aCaptureRecordsAndALaunchRuns() {
    Graph graph = stream.capture(s -> attention.launch(s));
    stream.synchronize();
    assertEquals(0, runs());
    graph.launch(stream);
    graph.launch(stream);
    stream.synchronize();
    assertEquals(4, runs(), "two steps each");
  }

  @Test
  void aGraphKeepsClosedTensorsKernelsAndScratchAlive() {
    attention.fake.workspace(512);
    stream.reserve(512);
    Graph graph = stream.capture(s -> attention.launch(s));
    attention.tensors().forEach(Tensor::close);
    attention.kernel.close();
    stream.lend(null); // drops the arena
    device.trim();
    graph.launch(stream);
    stream.synchronize();
    assertEquals(2, runs());
    assertTrue(attention.fake.alive().containsAll(List.of("kernel", "memory 512", "memory 384")));
    graph.launch(stream);
    graph.close();
    assertTrue(attention.fake.alive().contains("memory 384"), "the replay is in flight");
    stream.synchronize();
    assertEquals(List.of("stream0"), attention.fake.alive());
  }

  @Test
  void captureThenALargerEagerLaunchThenReplayUsesTheOldScratch() {
    attention.fake.workspace(512);
    stream.reserve(512);
    Graph graph = stream.capture(s -> attention.launch(s));
    attention.fake.workspace(4096);
    attention.launch();
    stream.synchronize();
    assertTrue(
        attention.fake.alive().containsAll(List.of("memory 512", "memory 4096")),
        "the graph keeps its own");
    graph.launch(stream);
    attention.launch();
    stream.synchronize();
    graph.close();
    device.trim();
    assertFalse(attention.fake.alive().contains("memory 512"));
  }

  @Test
  void aCaptureThatNeedsMoreScratchSaysHowMuchAndLeavesTheStreamUsable() {
    attention.fake.workspace(1000);
    IllegalStateException e =
        assertThrows(IllegalStateException.class, () -> stream.capture(s -> attention.launch(s)));
    assertMentions(e, "1000 bytes");
    assertMentions(e, "stream.reserve(1000)");
    stream.reserve(1000);
    stream.capture(s -> attention.launch(s)).close();
    attention.launch();
    stream.synchronize();
  }

  @Test
  void aThrowingBodyLeavesTheStreamUsableAndKeepsNothing() {
    RuntimeException boom = new IllegalArgumentException("boom");
    RuntimeException thrown =
        assertThrows(
            IllegalArgumentException.class,
            () ->
                stream.capture(s -> {
                  attention.launch(s);
                  throw boom;
                }));
    assertSame(boom, thrown);
    attention.q.close();
    assertEquals(3, attention.fake.alive().stream().filter("memory 384"::equals).count());
    attention.k.close();
    stream.record().close();
    stream.synchronize();
    assertEquals(0, runs());
  }

  @Test
  void aFailingEndOfCaptureKeepsNothing() {
    attention.fake.failNext("endCapture", () -> new DeviceException("endCapture", 1, "BAD", null));
    assertThrows(DeviceException.class, () -> stream.capture(s -> attention.launch(s)));
    attention.q.close();
    assertEquals(3, attention.fake.alive().stream().filter("memory 384"::equals).count());
    stream.synchronize();
  }

  @Test
  void aLaunchOfTheGraphOnAnotherStreamIsOrderedWithTheOwnersUseOfItsScratch() {
    attention.fake.workspace(512);
    stream.reserve(512);
    Graph graph = stream.capture(s -> attention.launch(s));
    try (Stream other = device.newStream()) {
      attention.launch(); // eager, before: unordered streams would race on the scratch
      attention.fake.clearLog();
      graph.launch(other);
      attention.launch();
      graph.launch(other);
      assertEquals(
          List.of(
              "stream1 awaits event of stream0",
              "stream0 awaits event of stream1",
              "moba.forward scratch 512@0",
              "stream1 awaits event of stream0"),
          attention.fake.log().stream().filter(l -> !l.startsWith("record")).toList());
      stream.synchronize();
      other.synchronize();
    }
    graph.close();
    device.trim();
    stream.lend(null);
    stream.synchronize();
    assertEquals(
        0, attention.fake.alive().stream().filter(a -> a.startsWith("event")).count(), "no leak");
  }

  @Test
  void aGraphOutlivesTheStreamItWasCapturedOn() {
    attention.fake.workspace(512);
    Stream other = device.newStream();
    other.reserve(512);
    Graph graph = other.capture(s -> attention.launch(s));
    other.close();
    graph.launch(stream);
    stream.synchronize();
    assertEquals(2, runs());
  }

  @Test
  void launchesOfOtherThreadsWaitForTheEndOfACapture() throws InterruptedException {
    CountDownLatch inside = new CountDownLatch(1);
    Thread launcher =
        Thread.ofPlatform()
            .start(() -> {
              try {
                inside.await();
              } catch (InterruptedException e) {
                return;
              }
              attention.launch();
            });
    Graph graph =
        stream.capture(s -> {
          inside.countDown();
          try {
            assertFalse(launcher.join(java.time.Duration.ofMillis(200)), "it must wait");
          } catch (InterruptedException e) {
            throw new AssertionError(e);
          }
          attention.launch(s);
        });
    launcher.join();
    stream.synchronize();
    assertEquals(2, runs(), "only the eager one ran");
    graph.launch(stream);
    stream.synchronize();
    assertEquals(4, runs());
  }

  @Test
  void whatACaptureCannotHoldIsRefused() {
    Graph graph = stream.capture(s -> {});
    Event event = stream.record();
    HostTensor heap = HostTensor.allocate(DataType.F32, 6, 2, 8);
    FakeProvider provider2 = new FakeProvider();
    try (Device second = provider2.open();
        Tensor foreign = second.allocate(DataType.F32, 6, 2, 8)) {
      stream
          .capture(s -> {
            assertThrows(IllegalStateException.class, stream::synchronize);
            assertThrows(IllegalStateException.class, stream::record);
            assertThrows(IllegalStateException.class, () -> stream.capture(t -> {}));
            assertThrows(IllegalStateException.class, () -> graph.launch(stream));
            assertThrows(IllegalStateException.class, () -> stream.download(attention.q, heap));
            assertThrows(IllegalStateException.class, () -> stream.copy(foreign, attention.q));
            assertThrows(IllegalStateException.class, () -> stream.lend(attention.q));
            assertThrows(IllegalStateException.class, () -> stream.reserve(1 << 10));
            assertThrows(IllegalStateException.class, device::close);
            stream.upload(heap, attention.q);
            stream.await(event);
          })
          .close();
    }
    Stream other = device.newStream();
    other.capture(s -> assertThrows(IllegalStateException.class, other::close)).close();
    other.synchronize();
  }

  @Test
  void aGraphIsLaunchedOnItsOwnDeviceOnly() {
    Graph graph = stream.capture(s -> attention.launch(s));
    try (Device second = new FakeProvider().id("second").open()) {
      IllegalArgumentException e =
          assertThrows(IllegalArgumentException.class, () -> graph.launch(second.defaultStream()));
      assertMentions(e, "fake:0", "second:0");
    }
  }

  @Test
  void aDeviceWithoutGraphsSaysSo() {
    try (Device plain = new FakeProvider().graphs(false).open()) {
      assertFalse(plain.info().graphs());
      UnsupportedOperationException e =
          assertThrows(
              UnsupportedOperationException.class, () -> plain.defaultStream().capture(s -> {}));
      assertMentions(e, "has no graphs");
    }
  }

  @Test
  void aFaultOfAReplayNamesWhatTheGraphHolds() {
    Graph graph = stream.capture(s -> attention.launch(s));
    attention.fake.faultNext("graph");
    graph.launch(stream);
    DeviceException e = assertThrows(DeviceException.class, stream::synchronize);
    assertMentions(e, "graph of moba.forward");
  }

  @Test
  void aCaptureThatTheCallerBeganKeepsItsScratchUntilTheStreamIsClosed() {
    attention.fake.workspace(512);
    stream.reserve(512);
    attention.fake.stream(0).capturedByCaller(true);
    attention.launch();
    assertThrows(IllegalStateException.class, stream::record);
    assertThrows(
        IllegalStateException.class,
        () -> stream.upload(HostTensor.allocate(DataType.F32, 6, 2, 8), attention.q));
    attention.fake.stream(0).capturedByCaller(false);
    attention.fake.workspace(1024);
    attention.launch();
    stream.synchronize();
    device.trim();
    assertTrue(attention.fake.alive().contains("memory 512"), "the caller's graph may replay");
  }
}
