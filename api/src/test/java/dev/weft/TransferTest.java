package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.fake.FakeProvider;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Transfers enqueue; heap memory is staged; any strides go both ways. */
@Timeout(30)
class TransferTest {
  private final FakeProvider provider = new FakeProvider();
  private final Device device = provider.open();
  private final Stream stream = device.defaultStream();

  @AfterEach
  void theApiUsedTheBackendWell() {
    device.close();
    assertEquals(List.of(), provider.device().violations());
  }

  private static HostTensor counting(long... shape) {
    int n = (int) HostTensor.allocate(DataType.I32, shape).elements();
    return HostTensor.ofInts(IntStream.range(0, n).toArray(), shape);
  }

  @Test
  void aHeapSourceMayBeReusedAtOnce() {
    Tensor tensor = device.allocate(DataType.I32, 4);
    HostTensor host = counting(4);
    stream.upload(host, tensor);
    host.set(2, 99);
    assertArrayEquals(new int[] {0, 1, 2, 3}, tensor.download().toInts());
  }

  @Test
  void aNativeSourceIsReadWhenTheStreamGetsThere() {
    try (Arena arena = Arena.ofShared()) {
      Tensor tensor = device.allocate(DataType.I32, 4);
      HostTensor host = HostTensor.allocate(arena, DataType.I32, 4);
      stream.upload(host, tensor);
      host.set(2, 99);
      assertArrayEquals(new int[] {0, 0, 99, 0}, tensor.download().toInts());
    }
  }

  @Test
  void aConfinedSourceIsStagedAsTheBackendsThreadsCannotReachIt() {
    Tensor tensor = device.allocate(DataType.I32, 4);
    try (Arena arena = Arena.ofConfined()) {
      HostTensor host = HostTensor.allocate(arena, DataType.I32, 4);
      host.set(1, 5);
      stream.upload(host, tensor);
    }
    try (Arena arena = Arena.ofConfined()) {
      HostTensor back = HostTensor.allocate(arena, DataType.I32, 4);
      stream.download(tensor, back);
      provider.device().finish();
      assertEquals(0, back.get(1));
      stream.synchronize();
      assertEquals(5, back.get(1));
    }
  }

  @Test
  void aHeapTargetIsFilledByTheNextWait() {
    Tensor tensor = device.upload(counting(4));
    HostTensor host = HostTensor.allocate(DataType.I32, 4);
    stream.download(tensor, host);
    provider.device().finish();
    assertArrayEquals(new int[4], host.toInts(), "done on the device, not yet waited for");
    stream.synchronize();
    assertArrayEquals(new int[] {0, 1, 2, 3}, host.toInts());
  }

  @Test
  void aHeapTargetIsFilledByTheWaitForALaterEventAndNoEarlierOne() {
    Tensor tensor = device.upload(counting(4));
    HostTensor host = HostTensor.allocate(DataType.I32, 4);
    try (Event before = stream.record()) {
      stream.download(tensor, host);
      try (Event after = stream.record()) {
        before.synchronize();
        assertArrayEquals(new int[4], host.toInts());
        after.synchronize();
        assertArrayEquals(new int[] {0, 1, 2, 3}, host.toInts());
        assertTrue(after.isComplete());
        assertEquals(1000, after.nanosSince(before));
      }
    }
  }

  @Test
  void aNativeTargetIsFilledByTheDevice() {
    Tensor tensor = device.upload(counting(4));
    try (Arena arena = Arena.ofShared();
        HostBuffer buffer = device.allocateHost(16)) {
      HostTensor host = HostTensor.allocate(arena, DataType.I32, 4);
      HostTensor pinned = HostTensor.of(DataType.I32, buffer.segment(), 4);
      stream.download(tensor, host);
      stream.download(tensor, pinned);
      assertArrayEquals(new int[4], host.toInts());
      provider.device().finish();
      assertArrayEquals(new int[] {0, 1, 2, 3}, host.toInts());
      assertArrayEquals(new int[] {0, 1, 2, 3}, pinned.toInts());
    }
  }

  @Test
  void stridedTensorsGoBothWays() {
    Tensor tensor = device.allocate(DataType.I32, 3, 4, 2);
    stream.fill(tensor, (byte) 0xff);
    Tensor part = tensor.slice(1, 1, 3).transpose(0, 2); // [2, 2, 3]
    HostTensor host = counting(2, 2, 3);
    stream.upload(host, part);
    assertArrayEquals(host.toInts(), part.download().toInts());
    int[] whole = tensor.download().toInts();
    assertEquals(12, IntStream.of(whole).filter(v -> v == -1).count());
    assertEquals(6, whole[3], "element [0, 1, 1] is part[1, 0, 0]");
  }

  @Test
  void stridedCopiesAndFillsTouchTheirElementsOnly() {
    Tensor source = device.upload(counting(3, 4));
    Tensor target = device.allocate(DataType.I32, 4, 6);
    stream.zero(target);
    stream.copy(source.transpose(0, 1), target.slice(1, 2, 5));
    assertArrayEquals(
        new int[] {0, 0, 0, 4, 8, 0, 0, 0, 1, 5, 9, 0, 0, 0, 2, 6, 10, 0, 0, 0, 3, 7, 11, 0},
        target.download().toInts());
    stream.fill(target.slice(1, 3, 4), (byte) 1);
    assertEquals(4, IntStream.of(target.download().toInts()).filter(v -> v == 0x01010101).count());
  }

  @Test
  void zeroSizedAndRankZeroTensorsTransfer() {
    Tensor empty = device.allocate(DataType.F32, 0, 5);
    stream.upload(HostTensor.allocate(DataType.F32, 0, 5), empty);
    stream.copy(empty, device.allocate(DataType.F32, 0, 5));
    stream.zero(empty);
    assertEquals(0, empty.download().elements());
    assertEquals(0, device.upload(HostTensor.allocate(DataType.F32, 3, 0)).download().elements());
    Tensor scalar = device.upload(HostTensor.ofInts(new int[] {42}));
    assertEquals(1, scalar.elements());
    assertEquals(42, scalar.download().get(0));
    assertThrows(
        IllegalArgumentException.class,
        () -> stream.upload(HostTensor.allocate(DataType.F32, 5, 0), empty));
  }

  @Test
  void aCopyCrossesDevices() {
    FakeProvider other = new FakeProvider().id("other");
    try (Device second = other.open();
        Tensor target = device.allocate(DataType.I32, 3, 2)) {
      Tensor source = second.upload(counting(2, 3));
      stream.copy(source, target.transpose(0, 1));
      assertArrayEquals(new int[] {0, 3, 1, 4, 2, 5}, target.download().toInts());
      source.close();
      assertThrows(IllegalStateException.class, () -> stream.copy(source, target.transpose(0, 1)));
    }
  }

  @Test
  void whatDoesNotFitIsRefused() {
    Tensor tensor = device.allocate(DataType.I32, 2, 3);
    assertMentions(
        assertThrows(IllegalArgumentException.class, () -> stream.upload(counting(3, 2), tensor)),
        "upload",
        "i32[2, 3]",
        "i32[3, 2]");
    assertThrows(
        IllegalArgumentException.class,
        () -> stream.download(tensor, HostTensor.allocate(DataType.F32, 2, 3)));
    assertMentions(
        assertThrows(
            IllegalArgumentException.class,
            () -> stream.copy(tensor.slice(0, 0, 1), tensor.slice(0, 0, 1))),
        "overlap");
    MemorySegment readOnly = MemorySegment.ofArray(new int[6]).asReadOnly();
    assertMentions(
        assertThrows(
            IllegalArgumentException.class,
            () -> stream.download(tensor, HostTensor.of(DataType.I32, readOnly, 2, 3))),
        "read-only");
    stream.upload(HostTensor.of(DataType.I32, readOnly, 2, 3), tensor);
  }

  @Test
  void wrapAliasesOrRefuses() {
    try (Arena arena = Arena.ofShared()) {
      MemorySegment segment = arena.allocate(24, 4);
      try (Tensor tensor = device.wrap(segment, DataType.I32, 2, 3)) {
        stream.fill(tensor, (byte) 1);
        stream.synchronize();
        assertEquals(1, segment.get(ValueLayout.JAVA_BYTE, 23));
      }
      assertMentions(
          assertThrows(IllegalArgumentException.class, () -> device.wrap(segment, DataType.I32, 7)),
          "28");
      assertMentions(
          assertThrows(
              IllegalArgumentException.class,
              () -> device.wrap(MemorySegment.ofArray(new int[6]), DataType.I32, 6)),
          "heap segment");
      provider.device().wraps(false);
      assertMentions(
          assertThrows(IllegalArgumentException.class, () -> device.wrap(segment, DataType.I32, 6)),
          "upload it instead");
    }
  }

  @Test
  void wrappedMemoryStartsAtAnElement() {
    try (Tensor half = device.wrap(provider.device().misaligned(8, 2), DataType.F16, 4)) {
      assertEquals(4, half.elements());
    }
    try (BackendMemory memory = provider.device().misaligned(8, 2)) {
      assertMentions(
          assertThrows(IllegalArgumentException.class, () -> device.wrap(memory, DataType.F32, 2)),
          "2 bytes after");
    }
  }

  @Test
  void twoWrapsOfOneSegmentAreSeenToOverlap() {
    try (Arena arena = Arena.ofShared()) {
      MemorySegment segment = arena.allocate(24, 4);
      Tensor first = device.wrap(segment, DataType.I32, 6);
      Tensor second = device.wrap(segment.asSlice(8), DataType.I32, 4);
      assertThrows(IllegalArgumentException.class, () -> stream.copy(first.slice(0, 0, 4), second));
      stream.copy(first.slice(0, 0, 2), second.slice(0, 2, 4));
      stream.copy(first.slice(0, 0, 2), second.slice(0, 0, 2));
      stream.synchronize();
      first.close();
      second.close();
    }
  }

  @Test
  void launchesGoOnWhileAnotherThreadWaits() throws InterruptedException {
    Tensor tensor = device.allocate(DataType.I32, 4);
    CountDownLatch running = new CountDownLatch(1);
    CountDownLatch release = new CountDownLatch(1);
    provider.device().stream(0).block(running, release);
    Thread waiter = Thread.ofPlatform().start(stream::synchronize);
    assertTrue(running.await(10, TimeUnit.SECONDS));
    stream.zero(tensor); // would hang, did the wait hold the stream's lock
    release.countDown();
    waiter.join();
    stream.synchronize();
  }

  @Test
  void launchesFromSeveralThreadsEnqueueWhole() throws InterruptedException {
    Attention attention = new Attention(provider);
    attention.fake.pauseNanos(1000);
    attention.fake.workspace(512);
    AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
    Thread[] threads = new Thread[6];
    for (int t = 0; t < threads.length; t++) {
      boolean waits = t == 0;
      boolean closes = t == 1;
      threads[t] =
          Thread.ofVirtual()
              .uncaughtExceptionHandler((_, e) -> failure.compareAndSet(null, e))
              .start(() -> {
                for (int i = 0; i < 100; i++) {
                  attention.launch();
                  if (waits) {
                    attention.stream.synchronize();
                  }
                  if (closes) {
                    Tensor tensor = attention.device.allocate(DataType.U8, 64);
                    attention.stream.zero(tensor);
                    tensor.close();
                  }
                }
              });
    }
    for (Thread thread : threads) {
      thread.join();
    }
    assertEquals(null, failure.get());
    attention.device.close();
    assertEquals(1200, attention.fake.log().stream().filter("run moba.forward"::equals).count());
    assertEquals(List.of(), attention.fake.violations());
  }

  @Test
  void severalThreadsMayOpenOneDefaultStream() throws InterruptedException {
    try (Device fresh = new FakeProvider().open()) {
      Stream[] seen = new Stream[4];
      Thread[] threads = new Thread[4];
      for (int t = 0; t < 4; t++) {
        int at = t;
        threads[t] = Thread.ofPlatform().start(() -> seen[at] = fresh.defaultStream());
      }
      for (Thread thread : threads) {
        thread.join();
      }
      assertEquals(1, List.of(seen).stream().distinct().count());
      assertEquals(List.of(), fresh.openObjects());
    }
  }

  @Test
  void theDeviceWaitsForThoseWhoWait() throws InterruptedException {
    FakeProvider own = new FakeProvider();
    Device closing = own.open();
    Stream waited = closing.newStream();
    CountDownLatch running = new CountDownLatch(1);
    CountDownLatch release = new CountDownLatch(1);
    own.device().stream(0).block(running, release);
    Thread waiter = Thread.ofPlatform().start(waited::synchronize);
    assertTrue(running.await(10, TimeUnit.SECONDS));
    Thread closer = Thread.ofPlatform().start(closing::close);
    release.countDown();
    waiter.join();
    closer.join();
    assertEquals(List.of(), own.device().violations());
    assertEquals(List.of(), own.device().alive());
  }
}
