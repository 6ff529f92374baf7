package dev.weft.backend.cpu.host;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DeviceException;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class HostStreamTest {
  private final WorkPool pool = new WorkPool(2);
  private final HostStream stream = new HostStream(pool);
  private final HostStream other = new HostStream(pool);

  @AfterEach
  void close() {
    stream.close();
    other.close();
    pool.close();
  }

  private static Runnable failing(String message) {
    return () -> {
      throw new IllegalStateException(message);
    };
  }

  private static void waitFor(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void workRunsInTheOrderOfItsSubmission() {
    List<Integer> seen = Collections.synchronizedList(new ArrayList<>());
    for (int i = 0; i < 1000; i++) {
      int number = i;
      stream.submit("work", () -> seen.add(number));
    }
    stream.synchronize();
    assertEquals(IntStream.range(0, 1000).boxed().toList(), seen);
  }

  @Test
  void submittingDoesNotWait() {
    CountDownLatch gate = new CountDownLatch(1);
    stream.submit("gate", () -> waitFor(gate));
    BackendEvent event = stream.record();
    assertFalse(event.isComplete());
    gate.countDown();
    event.synchronize();
    assertTrue(event.isComplete());
  }

  @Test
  void aFaultIsThrownOnceByTheNextWaitAndLaterWorkStillRuns() {
    AtomicInteger ran = new AtomicInteger();
    stream.submit("moba.forward", failing("index 7"));
    stream.submit("later", failing("not the first"));
    stream.submit("after", ran::incrementAndGet);
    DeviceException e = assertThrows(DeviceException.class, stream::synchronize);
    assertTrue(String.valueOf(e.getMessage()).contains("moba.forward"), e.getMessage());
    assertTrue(String.valueOf(e.getMessage()).contains("index 7"), e.getMessage());
    assertEquals(1, ran.get());
    stream.synchronize();
    stream.submit("again", failing("second"));
    e = assertThrows(DeviceException.class, stream::synchronize);
    assertTrue(String.valueOf(e.getMessage()).contains("second"), e.getMessage());
  }

  @Test
  void anEventThrowsTheFaultBeforeItButNotTheOneAfterIt() {
    BackendEvent before = stream.record();
    stream.submit("work", failing("fault"));
    BackendEvent after = stream.record();
    before.synchronize();
    assertThrows(DeviceException.class, after::synchronize);
    assertTrue(after.isComplete());
    stream.synchronize(); // thrown already
    after.synchronize();
  }

  @Test
  void awaitOrdersOneStreamBehindAnother() {
    CountDownLatch gate = new CountDownLatch(1);
    List<String> seen = Collections.synchronizedList(new ArrayList<>());
    stream.submit(
        "first",
        () -> {
          waitFor(gate);
          seen.add("first");
        });
    BackendEvent event = stream.record();
    other.await(event);
    other.submit("second", () -> seen.add("second"));
    gate.countDown();
    other.synchronize();
    assertEquals(List.of("first", "second"), seen);
  }

  @Test
  void aFaultOfAnotherStreamStaysThere() {
    stream.submit("work", failing("fault"));
    BackendEvent event = stream.record();
    other.await(event);
    other.synchronize();
    assertThrows(DeviceException.class, stream::synchronize);
  }

  @Test
  void aCaptureRecordsWhatEveryLaunchRunsAgain() {
    List<String> seen = Collections.synchronizedList(new ArrayList<>());
    stream.beginCapture();
    stream.submit("a", () -> seen.add("a"));
    stream.submit("b", () -> seen.add("b"));
    BackendGraph graph = stream.endCapture();
    stream.synchronize();
    assertEquals(List.of(), seen);
    stream.launch(graph);
    stream.submit("c", () -> seen.add("c"));
    stream.launch(graph);
    stream.synchronize();
    assertEquals(List.of("a", "b", "c", "a", "b"), seen);
    other.launch(graph);
    other.synchronize();
    assertEquals(7, seen.size());
  }

  @Test
  void transfersAreWorkAndCanBeCaptured() {
    try (Arena arena = Arena.ofShared();
        HostMemory one = HostMemory.allocate("test", 16);
        HostMemory two = HostMemory.allocate("test", 16)) {
      MemorySegment from = arena.allocate(8);
      MemorySegment to = arena.allocate(16);
      stream.beginCapture();
      stream.fill(one, 0, 16, (byte) 1);
      stream.upload(from, one, 4);
      stream.copy(one, 0, two, 0, 16);
      stream.download(two, 0, to);
      BackendGraph graph = stream.endCapture();
      from.fill((byte) 7);
      stream.launch(graph);
      stream.synchronize();
      byte[] expected = {1, 1, 1, 1, 7, 7, 7, 7, 7, 7, 7, 7, 1, 1, 1, 1};
      assertArrayEquals(expected, to.toArray(ValueLayout.JAVA_BYTE));
    }
  }

  @Test
  void segmentsConfinedToTheCallerAreTransferredToo() {
    try (Arena arena = Arena.ofConfined();
        HostMemory memory = HostMemory.allocate("test", 4)) {
      MemorySegment from = arena.allocate(4).fill((byte) 3);
      MemorySegment to = arena.allocate(4);
      stream.upload(from, memory, 0);
      stream.download(memory, 0, to);
      stream.synchronize();
      assertArrayEquals(new byte[] {3, 3, 3, 3}, to.toArray(ValueLayout.JAVA_BYTE));
      assertFalse(HostStream.canAccess(from));
    }
  }

  @Test
  void anOutOfRangeTransferIsAFaultAndNotACrash() {
    try (HostMemory memory = HostMemory.allocate("test", 4)) {
      stream.fill(memory, 2, 4, (byte) 0);
      assertThrows(DeviceException.class, stream::synchronize);
    }
  }

  @Test
  void timeIsMeasuredBetweenEvents() {
    BackendEvent start = stream.record();
    stream.submit(
        "work",
        () -> {
          long until = System.nanoTime() + 2_000_000;
          while (System.nanoTime() < until) {
            Thread.onSpinWait();
          }
        });
    BackendEvent end = stream.record();
    end.synchronize();
    assertTrue(end.nanosSince(start) >= 2_000_000);
  }

  @Test
  void closingAnIdleOrUnusedStreamReturns() {
    HostStream used = new HostStream(pool);
    used.submit("work", () -> {});
    used.synchronize();
    used.close();
    used.close();
    new HostStream(pool).close();
  }

  @Test
  void closeFinishesWhatIsEnqueued() {
    AtomicInteger ran = new AtomicInteger();
    HostStream closing = new HostStream(pool);
    for (int i = 0; i < 100; i++) {
      closing.submit("work", ran::incrementAndGet);
    }
    closing.close();
    assertEquals(100, ran.get());
  }

  @Test
  void anInterruptIsKeptForTheCaller() {
    stream.submit("work", () -> {});
    Thread.currentThread().interrupt();
    stream.synchronize();
    assertTrue(Thread.interrupted());
  }
}
