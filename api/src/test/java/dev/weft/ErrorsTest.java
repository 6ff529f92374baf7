package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.fake.FakeDevice;
import dev.weft.fake.FakeProvider;
import dev.weft.spi.BackendKernel;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Faults, loss, shortage of memory, and providers that throw what they may not. */
@Timeout(30)
class ErrorsTest {
  private final FakeProvider provider = new FakeProvider();

  @Test
  void aLateFaultNamesTheLaunchesSinceTheLastGoodWait() {
    Attention attention = new Attention(provider);
    try (Device device = attention.device) {
      attention.launch();
      attention.stream.synchronize();
      attention.stream.zero(attention.q);
      attention.fake.faultNext("moba.forward");
      attention.launch();
      DeviceException e = assertThrows(DeviceException.class, attention.stream::synchronize);
      assertMentions(e, "since the last good wait: fill, moba.forward (");
      assertEquals(700, e.code());
      attention.launch();
      attention.stream.synchronize();
      device.trim();
    }
  }

  @Test
  void aLateFaultCountsWhatItDoesNotName() {
    Attention attention = new Attention(provider);
    try (Device device = attention.device) {
      attention.fake.faultNext("moba.forward");
      for (int i = 0; i < 20; i++) {
        attention.launch();
      }
      DeviceException e = assertThrows(DeviceException.class, attention.stream::synchronize);
      assertMentions(e, "4 earlier ones, moba.forward");
      assertFalse(device.isLost());
    }
  }

  @Test
  void aLateFaultIsThrownByTheWaitForAnEventToo() {
    Attention attention = new Attention(provider);
    try (Device device = attention.device;
        Stream other = device.newStream()) {
      attention.fake.faultNext("moba.forward");
      attention.launch();
      Event event = attention.stream.record();
      attention.stream.zero(attention.q);
      other.synchronize();
      DeviceException e = assertThrows(DeviceException.class, event::synchronize);
      assertMentions(e, "wait: moba.forward (");
      attention.stream.synchronize();
    }
  }

  @Test
  void aGoodWaitForAnEventShortensTheListOfSuspects() {
    Attention attention = new Attention(provider);
    try (Device _ = attention.device) {
      attention.stream.zero(attention.q);
      attention.stream.record().synchronize();
      attention.fake.faultNext("moba.forward");
      attention.launch();
      DeviceException e = assertThrows(DeviceException.class, attention.stream::synchronize);
      assertMentions(e, "wait: moba.forward (");
    }
  }

  @Test
  void synchronousWaitsAfterEachLaunch() {
    Attention attention =
        new Attention(provider, DeviceOptions.builder().synchronous(true).build());
    try (Device _ = attention.device) {
      attention.launch();
      assertEquals(0, attention.fake.stream(0).pending());
      attention.fake.faultNext("moba.forward");
      DeviceException e = assertThrows(DeviceException.class, attention::launch);
      assertMentions(e, "wait: moba.forward (");
      HostTensor heap = HostTensor.allocate(DataType.F32, 6, 2, 8);
      attention.stream.fill(attention.out, (byte) 1);
      attention.stream.download(attention.out, heap);
      assertTrue(heap.get(0) != 0, "filled by the wait within");
    }
    assertEquals(List.of(), attention.fake.violations());
  }

  @Test
  void aLostDeviceThrowsTheFirstCauseFromAllButCloseIsLostAndInfo() {
    Attention attention = new Attention(provider);
    Device device = attention.device;
    Event event = attention.stream.record();
    Graph graph = attention.stream.capture(s -> attention.launch(s));
    Stream other = device.newStream();
    attention.launch();
    attention.fake.lose();
    DeviceLostException first =
        assertThrows(DeviceLostException.class, () -> device.allocate(DataType.F32, 1));
    assertTrue(device.isLost());
    assertEquals("fake:0", device.info().selector());
    for (var call :
        List.<org.junit.jupiter.api.function.Executable>of(
            attention::launch,
            attention.stream::synchronize,
            attention.stream::record,
            () -> attention.stream.zero(attention.q),
            () -> graph.launch(attention.stream),
            event::isComplete,
            event::synchronize,
            () -> event.nanosSince(event),
            device::memory,
            device::trim,
            device::newStream,
            device::defaultStream,
            () -> device.prepare(Attention.SPEC),
            () -> device.supports(Attention.SPEC),
            () -> attention.kernel.workspaceBytes(Limits.of(1, 1)),
            () -> device.extension(FakeDevice.class),
            attention.q::download)) {
      DeviceLostException e = assertThrows(DeviceLostException.class, call);
      assertMentions(e, "fell off the bus in allocate");
      assertSame(first, e.getCause());
    }
    attention.q.close();
    other.close();
    graph.close();
    event.close();
    device.close();
    assertEquals(List.of(), attention.fake.violations());
    assertEquals(List.of(), attention.fake.alive());
  }

  @Test
  void lossFoundByAWaitIsStickyAndCloseStillReleases() {
    Attention attention = new Attention(provider);
    attention.launch();
    attention.fake.lose();
    DeviceLostException first =
        assertThrows(DeviceLostException.class, attention.stream::synchronize);
    assertMentions(first, "launches on", "since the last good wait", "moba.forward");
    assertTrue(attention.device.isLost());
    assertSame(first, assertThrows(DeviceLostException.class, attention::launch).getCause());
    attention.device.close();
    assertEquals(List.of(), attention.fake.alive());
    assertEquals(List.of(), attention.fake.violations());
  }

  @Test
  void aLossFoundWhileClosingIsNotThrown() {
    Attention attention = new Attention(provider);
    attention.launch();
    attention.fake.lose();
    attention.device.close();
    assertEquals(List.of(), attention.fake.alive());
  }

  @Test
  void whateverElseAProviderThrowsIsWrappedWithItsId() {
    Attention attention = new Attention(provider);
    try (Device device = attention.device) {
      for (Throwable t :
          List.of(
              new IllegalArgumentException("x"),
              new NullPointerException("y"),
              new NoSuchMethodError("z"),
              new Exception("checked"),
              new AssertionError("a"))) {
        for (String call :
            List.of("moba.forward", "allocate", "newStream", "prepare", "supports")) {
          attention.fake.failNext(call, () -> t);
          ProviderException e =
              assertThrows(
                  ProviderException.class,
                  () -> {
                    switch (call) {
                      case "moba.forward" -> attention.launch();
                      case "allocate" -> device.allocate(DataType.F32, 1);
                      case "newStream" -> device.newStream();
                      case "prepare" -> device.prepare(Attention.SPEC);
                      default -> device.supports(Attention.SPEC);
                    }
                  });
          assertEquals("fake", e.providerId());
          assertSame(t, e.getCause());
          assertMentions(e, "provider 'fake' failed in ");
        }
      }
    }
  }

  @Test
  void aKernelOfTheWrongTypeIsTheProvidersFaultAndIsReleased() {
    try (Device device = provider.open()) {
      boolean[] closed = new boolean[1];
      provider
          .device()
          .nextKernel(
              new BackendKernel() {
                @Override
                public void close() {
                  closed[0] = true;
                }
              });
      ProviderException e =
          assertThrows(ProviderException.class, () -> device.prepare(Attention.SPEC));
      assertMentions(e, "MobaKernel");
      assertTrue(closed[0]);
      assertEquals(List.of(), device.openObjects());
    }
  }

  @Test
  void anUnsupportedSpecGivesSpecAndReason() {
    try (Device device = provider.open()) {
      provider.device().support(Support.no("headDim=8, at least 16"));
      assertEquals("no: headDim=8, at least 16", device.supports(Attention.SPEC).toString());
      UnsupportedSpecException e =
          assertThrows(UnsupportedSpecException.class, () -> device.prepare(Attention.SPEC));
      assertEquals("headDim=8, at least 16", e.reason());
      assertMentions(e, Attention.SPEC.text());
      assertMentions(e, "fake:0");
      assertThrows(IllegalArgumentException.class, () -> Support.no(" "));
    }
  }

  @Test
  void shortageOfMemoryDrainsAndTrimsBeforeItIsAnError() {
    provider.capacity(4000);
    Attention attention = new Attention(provider);
    try (Device device = attention.device) {
      Tensor big = device.allocate(DataType.F32, 500);
      attention.stream.zero(big);
      big.close(); // in flight
      attention.fake.pool(200);
      Tensor second = device.allocate(DataType.F32, 500);
      assertEquals(1, attention.fake.trims());
      second.close();
      DeviceOutOfMemoryException e =
          assertThrows(
              DeviceOutOfMemoryException.class, () -> device.allocate(DataType.F32, 2, 600));
      assertEquals(4800, e.needed());
      assertEquals(4000, e.limit());
      assertMentions(e, "tensor f32[2, 600]: needs 4800 bytes of fake, but");
      device.allocate(DataType.F32, 1).close();
    }
    assertEquals(List.of(), attention.fake.violations());
  }

  @Test
  void theMemoryLimitCountsTensorsScratchAndPackedWeights() {
    Attention attention =
        new Attention(provider, DeviceOptions.builder().memoryLimit(8192).build());
    try (Device device = attention.device) {
      long tensors = 4 * 384 + 12;
      assertEquals(
          new MemoryStatus(tensors, tensors, 0, 8192, (1 << 20) - tensors), device.memory());
      attention.fake.workspace(1024);
      attention.launch();
      assertEquals(tensors + 1024, device.memory().live());
      attention.fake.extraBytes(2048);
      Convolution conv = new Convolution(device);
      long weights = 128 + 32 + 160 + 12 + 160;
      assertEquals(2048, conv.binding.extraBytes());
      assertEquals(tensors + 1024 + 2048 + weights, device.memory().live());
      DeviceOutOfMemoryException e =
          assertThrows(DeviceOutOfMemoryException.class, () -> device.allocate(DataType.U8, 8192));
      assertEquals(8192, e.limit());
      assertEquals(8192 - (tensors + 1024 + 2048 + weights), e.free());
      conv.close();
      assertEquals(tensors + 1024, device.memory().live());
      assertEquals(tensors + 1024 + 2048 + weights, device.memory().peak());
      attention.stream.lend(null);
      attention.stream.synchronize();
      assertEquals(tensors, device.memory().live());
    }
  }

  @Test
  void theMemoryLimitWaitsForWhatIsClosedButInFlight() {
    try (Device device = provider.open(DeviceOptions.builder().memoryLimit(1000).build())) {
      Tensor first = device.allocate(DataType.U8, 900);
      device.defaultStream().zero(first);
      first.close();
      device.allocate(DataType.U8, 900).close();
    }
  }

  @Test
  void aFaultFoundWhileShortOfMemoryIsToldByTheNextWaitOnItsOwnStream() {
    Attention attention =
        new Attention(provider, DeviceOptions.builder().memoryLimit(4096).build());
    try (Device device = attention.device) {
      attention.fake.faultNext("moba.forward");
      attention.launch();
      Tensor big = device.allocate(DataType.U8, 2000);
      attention.stream.zero(big);
      big.close();
      device.allocate(DataType.U8, 2000).close();
      DeviceException e = assertThrows(DeviceException.class, attention.stream::synchronize);
      assertMentions(e, "moba.forward");
      attention.stream.synchronize();
    }
  }

  @Test
  void twoStreamsThatGrowTheirScratchWhileMemoryIsShortDoNotDeadlock() throws Exception {
    provider.capacity(16 << 10);
    Attention attention = new Attention(provider);
    try (Device device = attention.device) {
      Stream[] streams = {device.newStream(), device.newStream()};
      Thread[] threads = new Thread[2];
      for (int t = 0; t < 2; t++) {
        Stream stream = streams[t];
        threads[t] =
            Thread.ofPlatform()
                .start(() -> {
                  for (int i = 0; i < 3; i++) {
                    assertThrows(DeviceOutOfMemoryException.class, () -> stream.reserve(32 << 10));
                  }
                });
      }
      for (Thread thread : threads) {
        thread.join(TimeUnit.SECONDS.toMillis(25));
        assertFalse(thread.isAlive());
      }
    }
  }

  @Test
  void tensorsOfTwoDevicesInOneCallAreRefusedNamingBoth() {
    Attention attention = new Attention(provider);
    Attention second = new Attention(new FakeProvider().id("other"));
    try (Device _ = attention.device;
        Device _ = second.device) {
      IllegalArgumentException e =
          assertThrows(
              IllegalArgumentException.class,
              () ->
                  attention.kernel.forward(
                      attention.stream,
                      dev.weft.moba.MobaForward.of(
                          attention.q, second.k, attention.v, attention.cuSeqlens, attention.out)));
      assertMentions(e, "k is on other:0, the kernel on fake:0");
      e = assertThrows(IllegalArgumentException.class, () -> attention.launch(second.stream));
      assertMentions(e, "the stream is on other:0");
      e = assertThrows(IllegalArgumentException.class, () -> attention.stream.zero(second.q));
      assertMentions(e, "other:0", "fake:0");
      try (Event event = second.stream.record()) {
        e = assertThrows(IllegalArgumentException.class, () -> attention.stream.await(event));
        assertMentions(e, "other:0", "fake:0");
        try (Event own = attention.stream.record()) {
          assertThrows(IllegalArgumentException.class, () -> own.nanosSince(event));
        }
      }
      try (Convolution conv = new Convolution(attention.device)) {
        assertThrows(IllegalArgumentException.class, () -> conv.binding.refresh(second.stream));
        conv.binding.refresh(attention.stream);
      }
    }
  }

  @Test
  void aBindingThatFailsLeavesNothingBehind() {
    Attention attention = new Attention(provider);
    try (Device device = attention.device) {
      List<String> before = device.openObjects();
      attention.fake.failNext("refresh", () -> new IllegalStateException("x"));
      var conv = device.prepare(Convolution.SPEC);
      Tensor weight = device.allocate(DataType.F32, 8, 4);
      Tensor bias = device.allocate(DataType.F32, 8);
      assertThrows(ProviderException.class, () -> conv.bind(weight, bias));
      attention.fake.failNext("bind", () -> new IllegalStateException("x"));
      ProviderException e = assertThrows(ProviderException.class, () -> conv.bind(weight, bias));
      assertInstanceOf(IllegalStateException.class, e.getCause());
      weight.close();
      bias.close();
      conv.close();
      attention.stream.synchronize();
      assertEquals(before, device.openObjects());
      assertFalse(attention.fake.alive().contains("binding"));
      attention
          .stream
          .capture(s ->
              assertThrows(
                  IllegalStateException.class,
                  () ->
                      device
                          .prepare(Convolution.SPEC)
                          .bind(
                              device.allocate(DataType.F32, 8, 4),
                              device.allocate(DataType.F32, 8))))
          .close();
    }
  }
}
