package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.fake.FakeProvider;
import java.lang.foreign.Arena;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** close() never waits and never frees memory in use; nothing is used after it. */
class LifetimeTest {
  private final FakeProvider provider = new FakeProvider();
  private final Attention attention = new Attention(provider);
  private final Device device = attention.device;

  @AfterEach
  void theApiUsedTheBackendWell() {
    device.close();
    assertEquals(List.of(), attention.fake.violations());
  }

  @Test
  void memoryOfATensorClosedRightAfterItsLaunchIsKeptUntilTheLaunchIsDone() {
    attention.launch();
    long used = attention.fake.used();
    attention.q.close();
    device.trim();
    assertEquals(used, attention.fake.used(), "the launch has not run yet");
    attention.fake.finish();
    device.trim();
    assertEquals(used - 6 * 2 * 8 * 4, attention.fake.used());
  }

  @Test
  void anUnusedTensorIsReleasedAtOnce() {
    Tensor tensor = device.allocate(DataType.F32, 100);
    long used = attention.fake.used();
    tensor.close();
    assertEquals(used - 400, attention.fake.used());
  }

  @Test
  void aKernelClosedRightAfterItsLaunchIsKeptUntilTheLaunchIsDone() {
    attention.launch();
    attention.kernel.close();
    assertTrue(attention.fake.alive().contains("kernel"));
    attention.stream.synchronize();
    assertTrue(attention.fake.log().contains("close kernel"));
  }

  @Test
  void aTensorUsedOnTwoStreamsIsKeptUntilBothAreDone() {
    try (Stream other = device.newStream()) {
      attention.launch();
      attention.launch(other);
      attention.q.close();
      long used = attention.fake.used();
      attention.stream.synchronize();
      assertEquals(used, attention.fake.used());
      other.synchronize();
      assertEquals(used - 384, attention.fake.used());
    }
  }

  @Test
  void closingNeverWaits() {
    attention.launch();
    attention.tensors().forEach(Tensor::close);
    attention.kernel.close();
    assertTrue(attention.fake.stream(0).pending() > 0, "nothing has run");
  }

  @Test
  void useAfterCloseNamesWhatIsClosed() {
    attention.q.close();
    IllegalStateException e = assertThrows(IllegalStateException.class, attention::launch);
    assertMentions(e, "tensor q (f32[6, 2, 8]) is closed");
  }

  @Test
  void aViewOfAClosedTensorIsClosed() {
    Tensor view = attention.q.slice(0, 0, 6);
    attention.q.close();
    assertThrows(
        IllegalStateException.class,
        () ->
            attention.kernel.forward(
                attention.stream,
                dev.weft.moba.MobaForward.of(
                    view, attention.k, attention.v, attention.cuSeqlens, attention.out)));
    assertThrows(IllegalStateException.class, () -> view.select(0, 0));
    assertThrows(IllegalStateException.class, view::download);
  }

  @Test
  void closingAViewLeavesTheTensorAlone() {
    Tensor view = attention.q.slice(0, 0, 6);
    view.close();
    assertThrows(IllegalStateException.class, () -> view.slice(0, 0, 1));
    assertDoesNotThrow(() -> attention.launch());
  }

  @Test
  void closingTwiceIsHarmless() {
    Event event = attention.stream.record();
    Graph graph = attention.stream.capture(s -> attention.launch());
    HostBuffer buffer = device.allocateHost(8);
    Stream stream = device.newStream();
    for (int i = 0; i < 2; i++) {
      attention.tensors().forEach(Tensor::close);
      attention.kernel.close();
      event.close();
      graph.close();
      buffer.close();
      stream.close();
      attention.stream.close();
    }
    device.close();
    device.close();
    attention.q.close();
    attention.kernel.close();
    event.close();
    graph.close();
    buffer.close();
    stream.close();
  }

  @Test
  void closedKernelsEventsGraphsBuffersAndStreamsRefuse() {
    Event event = attention.stream.record();
    Graph graph = attention.stream.capture(s -> attention.launch());
    HostBuffer buffer = device.allocateHost(8);
    Stream stream = device.newStream();
    event.close();
    graph.close();
    buffer.close();
    stream.close();
    attention.kernel.close();
    assertThrows(IllegalStateException.class, event::isComplete);
    assertThrows(IllegalStateException.class, event::synchronize);
    assertThrows(IllegalStateException.class, () -> event.nanosSince(event));
    assertThrows(IllegalStateException.class, () -> attention.stream.await(event));
    assertThrows(IllegalStateException.class, () -> graph.launch(attention.stream));
    assertThrows(IllegalStateException.class, buffer::segment);
    assertThrows(IllegalStateException.class, stream::synchronize);
    assertThrows(IllegalStateException.class, stream::record);
    assertThrows(IllegalStateException.class, () -> stream.reserve(1));
    assertThrows(IllegalStateException.class, () -> stream.capture(s -> {}));
    assertThrows(IllegalStateException.class, attention::launch);
    assertThrows(
        IllegalStateException.class, () -> attention.kernel.workspaceBytes(Limits.of(1, 1)));
  }

  @Test
  void theDefaultStreamIsClosedByTheDeviceOnly() {
    attention.stream.close();
    attention.launch();
  }

  @Test
  void openObjectsAreListedOldestFirst() {
    attention.tensors().forEach(Tensor::close);
    Tensor tensor = device.allocate(DataType.BF16, 2, 3);
    Stream stream = device.newStream();
    assertEquals(
        List.of("kernel " + Attention.SPEC, "tensor bf16[2, 3]", "stream 1 of fake:0"),
        device.openObjects());
    tensor.close();
    stream.close();
    attention.kernel.close();
    assertEquals(List.of(), device.openObjects());
  }

  @Test
  void theDeviceDrainsAndThenClosesYoungestFirst() {
    attention.launch();
    Stream stream = device.newStream();
    attention.launch(stream);
    attention.fake.clearLog();
    device.close();
    List<String> log = attention.fake.log();
    int lastRun = log.lastIndexOf("run moba.forward");
    assertTrue(lastRun >= 0 && lastRun < log.indexOf("close memory 384"), log.toString());
    assertTrue(log.indexOf("close stream1") < log.indexOf("close memory 384"), log.toString());
    assertTrue(log.lastIndexOf("close memory 384") < log.indexOf("close kernel"), log.toString());
    assertEquals(log.size() - 1, log.indexOf("close device"));
    assertEquals(List.of(), attention.fake.alive());
  }

  @Test
  void everythingOnAClosedDeviceRefusesButInfo() {
    device.close();
    assertEquals("fake:0", device.info().selector());
    assertThrows(IllegalStateException.class, () -> device.allocate(DataType.F32, 1));
    assertThrows(IllegalStateException.class, device::newStream);
    assertThrows(IllegalStateException.class, device::defaultStream);
    assertThrows(IllegalStateException.class, () -> device.supports(Attention.SPEC));
    assertThrows(IllegalStateException.class, () -> device.prepare(Attention.SPEC));
    assertThrows(IllegalStateException.class, device::memory);
    assertThrows(IllegalStateException.class, attention::launch);
    assertThrows(IllegalStateException.class, attention.stream::synchronize);
  }

  @Test
  void aFaultStillInFlightIsThrownByCloseAndAllIsReleasedAllTheSame() {
    attention.fake.faultNext("moba.forward");
    attention.launch();
    DeviceException e = assertThrows(DeviceException.class, device::close);
    assertMentions(e, "moba.forward");
    assertEquals(List.of(), attention.fake.alive());
  }

  @Test
  void whatTheBackendFailsToReleaseHitsNobodyElseAndIsToldWhenTheDeviceCloses() {
    attention.fake.failNext("memory close", () -> new IllegalStateException("stuck"));
    attention.q.close();
    attention.k.close();
    device.allocate(DataType.F32, 1);
    ProviderException e = assertThrows(ProviderException.class, device::close);
    assertMentions(e, "stuck");
    assertEquals(List.of("left open: memory 384"), attention.fake.violations());
    attention.fake.forgive(); // just what the backend itself refused to release
  }

  @Test
  void aBrokenFencePoisonsNoUnrelatedCall() {
    attention.launch();
    attention.fake.failNext("record", () -> new IllegalStateException("driver bug"));
    attention.q.close();
    attention.fake.failNext("isComplete", () -> new IllegalStateException("driver bug"));
    device.trim();
    assertDoesNotThrow(() -> device.allocate(DataType.F32, 1));
    long used = attention.fake.used();
    attention.stream.synchronize();
    assertEquals(used - 384, attention.fake.used(), "a wait settles it");
  }

  @Test
  void bindingsKeepTheirKernelAndOutliveTheirLastLaunch() {
    try (Convolution conv = new Convolution(device)) {
      conv.forward(attention.stream);
      conv.binding.close();
      conv.kernel.close();
      assertTrue(attention.fake.alive().contains("binding"));
      assertThrows(IllegalStateException.class, () -> conv.forward(attention.stream));
      assertThrows(IllegalStateException.class, () -> conv.binding.refresh(attention.stream));
      attention.stream.synchronize();
      List<String> log = attention.fake.log();
      assertTrue(log.indexOf("close binding") < log.lastIndexOf("close kernel"), log.toString());
    }
  }

  @Test
  void launchesRefuseABindingWhoseWeightIsClosed() {
    try (Convolution conv = new Convolution(device)) {
      conv.weight.close();
      IllegalStateException e =
          assertThrows(IllegalStateException.class, () -> conv.forward(attention.stream));
      assertMentions(e, "weight");
    }
  }

  @Test
  void stagingMemoryIsReleasedOnceItsTransferIsDone() {
    attention.stream.upload(HostTensor.allocate(DataType.F32, 6, 2, 8), attention.q);
    assertTrue(attention.fake.alive().contains("host memory 384"));
    attention.stream.synchronize();
    assertTrue(!attention.fake.alive().contains("host memory 384"));
  }

  @Test
  void aFailedDownloadLeavesNoStagingMemoryBehind() {
    attention.fake.faultNext("moba.forward");
    attention.launch();
    attention.stream.download(attention.out, HostTensor.allocate(DataType.F32, 6, 2, 8));
    assertThrows(DeviceException.class, attention.stream::synchronize);
    device.trim();
    assertTrue(!attention.fake.alive().contains("host memory 384"));
  }

  @Test
  void wrappedMemoryIsTheCallersAndIsUnwrappedAfterItsLastLaunch() {
    try (Arena arena = Arena.ofShared()) {
      Tensor tensor = device.wrap(arena.allocate(24), DataType.F32, 2, 3);
      attention.stream.zero(tensor);
      long live = device.memory().live();
      tensor.close();
      attention.stream.synchronize();
      assertEquals(live, device.memory().live(), "wrapped memory does not count");
      assertTrue(attention.fake.log().contains("close memory 24"));
    }
  }

  @Test
  void creatingAndClosingLeavesNothingBehind() {
    for (int i = 0; i < 50; i++) {
      try (Tensor tensor = device.allocate(DataType.F32, 10)) {
        attention.stream.zero(tensor);
      }
      attention.stream.synchronize();
    }
    device.trim();
    assertEquals(
        0,
        attention.fake.alive().stream().filter("memory 40"::equals).count(),
        attention.fake.alive().toString());
    assertEquals(0, attention.fake.alive().stream().filter(a -> a.startsWith("event")).count());
  }
}
