package dev.weft.backend.cpu.host;

import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/**
 * The threads of a CPU device. Which thread runs which task is left open, so results must depend on
 * the tasks alone: cut the work by its sizes, never by {@link #threads()}, wherever the cut changes
 * an order of summation. Daemon threads, started on demand. Safe for use by several threads.
 */
public final class WorkPool implements AutoCloseable {
  // A launch is several runs, and a token many launches: a thread that would sleep between them
  // takes longer to wake than many a run takes.
  private static final long SPIN_NANOS = 50_000;

  private final int threads;
  private final ConcurrentLinkedQueue<Job> jobs = new ConcurrentLinkedQueue<>();
  private final ConcurrentLinkedQueue<Thread> asleep = new ConcurrentLinkedQueue<>();
  private final AtomicBoolean started = new AtomicBoolean();
  private volatile boolean closed;

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
    int helpers = closed ? 0 : Math.min(threads, tasks) - 1;
    if (helpers > 0) {
      start();
    }
    for (int i = 0; i < helpers; i++) {
      jobs.add(job);
    }
    for (int i = 0; i < helpers; i++) {
      Thread sleeper = asleep.poll();
      if (sleeper == null) {
        break;
      }
      LockSupport.unpark(sleeper);
    }
    job.run();
    job.join();
  }

  private void start() {
    if (started.compareAndSet(false, true)) {
      Thread.Builder helper = Thread.ofPlatform().daemon().name("weft-cpu-", 0);
      for (int i = 1; i < threads; i++) {
        helper.start(this::help);
      }
    }
  }

  private void help() {
    while (!closed) {
      Job job = jobs.poll();
      if (job != null) {
        job.run();
      } else if (!spinUntilThereIsWork()) {
        asleep.add(Thread.currentThread());
        // Looked at again, lest a job came before anyone could see that this thread sleeps.
        if (jobs.isEmpty() && !closed) {
          LockSupport.park(this);
        }
        asleep.remove(Thread.currentThread());
      }
    }
  }

  private boolean spinUntilThereIsWork() {
    long start = System.nanoTime();
    while (System.nanoTime() - start < SPIN_NANOS) {
      if (!jobs.isEmpty()) {
        return true;
      }
      Thread.onSpinWait();
    }
    return false;
  }

  /** Lets the threads end. Work that runs is finished first. */
  @Override
  public void close() {
    closed = true;
    for (Thread sleeper : asleep) {
      LockSupport.unpark(sleeper);
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
      long start = System.nanoTime();
      while (left.getCount() > 0 && System.nanoTime() - start < SPIN_NANOS) {
        Thread.onSpinWait();
      }
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
