package dev.weft.backend.cpu.host;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/**
 * The threads of a CPU device. Which thread runs which task is left open, so results must depend on
 * the tasks alone: cut the work by its sizes, never by {@link #threads()}, wherever the cut changes
 * an order of summation. Daemon threads, started on demand. Safe for use by several threads.
 */
public final class WorkPool implements AutoCloseable {
  private final int threads;
  private final @Nullable ExecutorService helpers;

  /**
   * Makes a pool.
   *
   * @param threads how many threads compute at once for one caller, itself included; at least 1
   */
  public WorkPool(int threads) {
    if (threads < 1) {
      throw new IllegalArgumentException("threads: expected at least 1, but was " + threads);
    }
    this.threads = threads;
    this.helpers =
        threads == 1
            ? null
            : Executors.newFixedThreadPool(
                threads - 1, Thread.ofPlatform().daemon().name("weft-cpu-", 0).factory());
  }

  /**
   * Returns the number of threads.
   *
   * @return at least 1
   */
  public int threads() {
    return threads;
  }

  /**
   * Runs tasks on all threads, the caller's among them, and returns when all are done.
   *
   * @param tasks how many
   * @param task takes each number from 0 to tasks - 1 once; may itself call this
   * @throws RuntimeException what the first task to fail threw (an error likewise); tasks that had
   *     not begun then are left out
   */
  public void run(int tasks, IntConsumer task) {
    Job job = new Job(tasks, task);
    if (helpers != null) {
      int useful = Math.min(threads, tasks) - 1;
      for (int i = 0; i < useful; i++) {
        try {
          helpers.execute(job);
        } catch (RejectedExecutionException e) {
          break; // closed meanwhile: the caller's thread does it all
        }
      }
    }
    job.run();
    job.join();
  }

  /** Lets the threads end. Work that runs is finished first. */
  @Override
  public void close() {
    if (helpers != null) {
      helpers.shutdown();
    }
  }

  private static final class Job implements Runnable {
    private final int tasks;
    private final IntConsumer task;
    private final AtomicInteger next = new AtomicInteger();
    private final CountDownLatch left;
    private final AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();

    Job(int tasks, IntConsumer task) {
      this.tasks = tasks;
      this.task = task;
      this.left = new CountDownLatch(tasks);
    }

    @Override
    public void run() {
      // Looked at before it is taken, so that the counter cannot overflow.
      while (next.get() < tasks) {
        int taken = next.getAndIncrement();
        if (taken >= tasks) {
          return;
        }
        try {
          if (failure.get() == null) {
            task.accept(taken);
          }
        } catch (Throwable t) {
          failure.compareAndSet(null, t);
        } finally {
          left.countDown();
        }
      }
    }

    void join() {
      boolean interrupted = false;
      while (true) {
        try {
          left.await();
          break;
        } catch (InterruptedException e) {
          interrupted = true;
        }
      }
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
      Throwable thrown = failure.get();
      if (thrown instanceof RuntimeException e) {
        throw e;
      }
      if (thrown instanceof Error e) {
        throw e;
      }
      if (thrown != null) {
        throw new IllegalStateException(thrown); // a checked exception, thrown sneakily
      }
    }
  }
}
