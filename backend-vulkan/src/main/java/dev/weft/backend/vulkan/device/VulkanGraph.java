package dev.weft.backend.vulkan.device;

import dev.weft.spi.BackendGraph;
import java.util.List;
import java.util.OptionalInt;

/** Recorded commands, submitted again in the same order by every launch. */
final class VulkanGraph implements BackendGraph {
  private final List<Command> commands;

  VulkanGraph(List<Command> commands) {
    this.commands = List.copyOf(commands);
  }

  List<Command> commands() {
    return commands;
  }

  @Override
  public OptionalInt nodes() {
    return OptionalInt.of(commands.size());
  }

  /** What it names is the api's to keep. */
  @Override
  public void close() {}
}
