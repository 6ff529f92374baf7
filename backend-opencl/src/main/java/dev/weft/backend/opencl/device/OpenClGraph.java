package dev.weft.backend.opencl.device;

import dev.weft.backend.opencl.driver.Calls;
import dev.weft.spi.BackendGraph;
import java.util.List;
import java.util.OptionalInt;

/**
 * Recorded commands, enqueued again in the same order by every launch. Each dispatch has a
 * cl_kernel of its own, whose arguments were set when it was recorded.
 */
final class OpenClGraph implements BackendGraph {
  private final Calls calls;
  private final List<Command> commands;

  OpenClGraph(Calls calls, List<Command> commands) {
    this.calls = calls;
    this.commands = List.copyOf(commands);
  }

  /** One that can be enqueued again and again. */
  interface Command {
    void enqueue(long queue);

    /** The cl_kernel that it keeps, or 0. */
    default long kernel() {
      return 0;
    }
  }

  List<Command> commands() {
    return commands;
  }

  @Override
  public OptionalInt nodes() {
    return OptionalInt.of(commands.size());
  }

  @Override
  public void close() {
    for (Command command : commands) {
      if (command.kernel() != 0) {
        calls.releaseKernel(command.kernel());
      }
    }
  }
}
