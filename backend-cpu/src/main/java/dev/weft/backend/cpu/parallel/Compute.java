package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.WorkPool;
import java.util.function.Consumer;

/**
 * What all kernels of a device compute with: its threads, its arithmetic, and the scratch of its
 * tasks and launches.
 */
final class Compute implements AutoCloseable {
  private final WorkPool pool;
  private final Arithmetic arithmetic;
  // Several streams may run at once, each with a thread of its own that works too.
  private final TaskScratch.Pool tasks;
  private final TaskScratch.Pool launches = new TaskScratch.Pool(8);

  Compute(WorkPool pool, Arithmetic arithmetic) {
    this.pool = pool;
    this.arithmetic = arithmetic;
    tasks = new TaskScratch.Pool(2 * pool.threads() + 8);
  }

  /** One of the tasks that a launch is cut into. */
  interface Task {
    void run(int task, TaskScratch scratch);
  }

  /** What each thread does with the tasks of a run. */
  interface Worker {
    void work(WorkPool.Tasks tasks, TaskScratch scratch);
  }

  WorkPool pool() {
    return pool;
  }

  Arithmetic arithmetic() {
    return arithmetic;
  }

  int threads() {
    return pool.threads();
  }

  /** Runs tasks on all threads and returns when all are done; each has scratch of its own. */
  void run(int count, Task task) {
    share(
        count,
        (own, scratch) -> {
          for (int i = own.next(); i >= 0; i = own.next()) {
            task.run(i, scratch);
          }
        });
  }

  /** As {@link #run}, for tasks that share objects on each thread. */
  void share(int count, Worker worker) {
    pool.share(
        count,
        own -> {
          TaskScratch scratch = tasks.take();
          try {
            worker.work(own, scratch);
          } finally {
            tasks.giveBack(scratch);
          }
        });
  }

  /** Lends scratch for what a launch itself keeps while its tasks run. */
  void withScratch(Consumer<TaskScratch> user) {
    TaskScratch own = launches.take();
    try {
      user.accept(own);
    } finally {
      launches.giveBack(own);
    }
  }

  @Override
  public void close() {
    pool.close();
  }
}
