package dev.weft.backend.cpu.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class WorkPoolTest {
  private static void expectEachOnce(WorkPool pool, int tasks) {
    AtomicIntegerArray times = new AtomicIntegerArray(tasks);
    pool.run(tasks, times::incrementAndGet);
    for (int i = 0; i < tasks; i++) {
      assertEquals(1, times.get(i), "task " + i);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 8})
  void everyTaskRunsOnce(int threads) {
    try (WorkPool pool = new WorkPool(threads)) {
      assertEquals(threads, pool.threads());
      for (int tasks : new int[] {0, 1, 2, 7, 1000}) {
        expectEachOnce(pool, tasks);
      }
    }
  }

  @Test
  void allThreadsWorkAtOnce() {
    try (WorkPool pool = new WorkPool(3)) {
      CountDownLatch met = new CountDownLatch(3);
      // Returns only if three threads are inside at once.
      pool.run(
          3,
          i -> {
            met.countDown();
            try {
              met.await();
            } catch (InterruptedException e) {
              throw new IllegalStateException(e);
            }
          });
    }
  }

  @Test
  void severalCallersAndNestedCallsWork() throws InterruptedException {
    try (WorkPool pool = new WorkPool(2)) {
      List<Thread> callers = new ArrayList<>();
      AtomicInteger done = new AtomicInteger();
      for (int i = 0; i < 4; i++) {
        callers.add(
            Thread.ofPlatform()
                .start(() -> pool.run(20, a -> pool.run(5, b -> done.incrementAndGet()))));
      }
      for (Thread caller : callers) {
        caller.join();
      }
      assertEquals(400, done.get());
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 4})
  void theFirstFailureIsThrownAndThePoolGoesOn(int threads) {
    try (WorkPool pool = new WorkPool(threads)) {
      IllegalStateException failure = new IllegalStateException("task 3");
      IllegalStateException thrown =
          assertThrows(
              IllegalStateException.class,
              () ->
                  pool.run(
                      100,
                      i -> {
                        if (i == 3) {
                          throw failure;
                        }
                      }));
      assertSame(failure, thrown);
      expectEachOnce(pool, 50);
    }
  }

  @Test
  void aClosedPoolLeavesTheWorkToTheCaller() {
    WorkPool pool = new WorkPool(4);
    pool.close();
    expectEachOnce(pool, 10);
  }

  @Test
  void aPoolNeedsAThread() {
    assertThrows(IllegalArgumentException.class, () -> new WorkPool(0));
  }
}
