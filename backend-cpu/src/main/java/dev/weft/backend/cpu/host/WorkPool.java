package dev.weft.backend.cpu.host;

import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
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

  // Waking a thread costs the one who wakes it several microseconds, so each wakes a few, and they
  // others.
  private static final int WOKEN_AT_ONCE = 2;

  private final int threads;
  // Jobs that may have tasks left; each stays until somebody finds that it has none.
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

  /** Hands out the tasks of a run. */
  public interface Tasks {
    /**
     * Takes a task.
     *
     * @return its number, or -1 if there is none left
     */
    int next();
  }

  /** What each thread of a run does. */
  public interface Worker {
    /**
     * Takes tasks until there are none left.
     *
     * @param tasks where from
     */
    void work(Tasks tasks);
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
    share(
        tasks,
        own -> {
          for (int i = own.next(); i >= 0; i = own.next()) {
            task.accept(i);
          }
        });
  }

  /**
   * As {@link #run}, for tasks that share something on each thread.
   *
   * @param tasks how many
   * @param worker called once on each thread that takes part
   * @throws RuntimeException as {@link #run}
   */
  public void share(int tasks, Worker worker) {
    if (tasks <= 0) {
      return;
    }
    Job job = new Job(tasks, worker);
    if (tasks == 1 || threads == 1 || closed) {
      job.work();
    } else {
      start();
      jobs.add(job);
      wakeSome();
      job.work();
      jobs.remove(job);
      job.join();
    }
    job.throwFailure();
  }

  private void wakeSome() {
    for (int i = 0; i < WOKEN_AT_ONCE; i++) {
      Thread sleeper = asleep.poll();
      if (sleeper == null) {
        return;
      }
      LockSupport.unpark(sleeper);
    }
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
      Job job = jobs.peek();
      if (job != null) {
        if (job.hasTasks()) {
          wakeSome();
          job.work();
        }
        jobs.remove(job);
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

  private static final class Job implements Tasks {
    private final int tasks;
    private final Worker worker;
    private final AtomicInteger next = new AtomicInteger();
    // Threads that may be at a task.
    private final AtomicInteger inside = new AtomicInteger();
    private volatile @Nullable Thread waiting;
    private volatile @Nullable Throwable failure;

    Job(int tasks, Worker worker) {
      this.tasks = tasks;
      this.worker = worker;
    }

    boolean hasTasks() {
      return failure == null && next.get() < tasks;
    }

    @Override
    public int next() {
      // Looked at before one is taken, so that the counter cannot overflow.
      if (!hasTasks()) {
        return -1;
      }
      int taken = next.getAndIncrement();
      return taken < tasks ? taken : -1;
    }

    void work() {
      // In this order: whoever finds a task is counted before the caller can find none.
      inside.incrementAndGet();
      try {
        if (hasTasks()) {
          worker.work(this);
        }
      } catch (Throwable t) {
        fail(t);
      } finally {
        if (inside.decrementAndGet() == 0) {
          LockSupport.unpark(waiting);
        }
      }
    }

    private synchronized void fail(Throwable t) {
      if (failure == null) {
        failure = t;
      }
    }

    /** Waits for the others, once no task is left. */
    void join() {
      long start = System.nanoTime();
      while (inside.get() > 0 && System.nanoTime() - start < SPIN_NANOS) {
        Thread.onSpinWait();
      }
      waiting = Thread.currentThread();
      boolean interrupted = false;
      while (inside.get() > 0) {
        LockSupport.park(this);
        interrupted |= Thread.interrupted();
      }
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }

    void throwFailure() {
      Throwable thrown = failure;
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
