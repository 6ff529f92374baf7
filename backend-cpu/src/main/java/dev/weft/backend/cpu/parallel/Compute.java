package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.WorkPool;
import java.util.function.Consumer;

/**
 * What all kernels of a device compute with: its threads, its arithmetic, and the scratch of its
 * tasks.
 */
final class Compute implements AutoCloseable {
  private final WorkPool pool;
  private final Arithmetic arithmetic;
  private final TaskScratch.Pool scratch = new TaskScratch.Pool();

  Compute(WorkPool pool, Arithmetic arithmetic) {
    this.pool = pool;
    this.arithmetic = arithmetic;
  }

  /** One of the tasks that a launch is cut into. */
  interface Task {
    void run(int task, TaskScratch scratch);
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
  void run(int tasks, Task task) {
    pool.run(tasks, i -> withScratch(own -> task.run(i, own)));
  }

  /** Lends scratch, for what a launch itself keeps while its tasks run. */
  void withScratch(Consumer<TaskScratch> user) {
    TaskScratch own = scratch.take();
    try {
      user.accept(own);
    } finally {
      scratch.giveBack(own);
    }
  }

  @Override
  public void close() {
    pool.close();
  }
}
