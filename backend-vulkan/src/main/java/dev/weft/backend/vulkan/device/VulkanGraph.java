package dev.weft.backend.vulkan.device;

import dev.weft.spi.BackendGraph;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VkCommandBuffer;

/**
 * Recorded commands. Those of the device alone are a command buffer, which launches submit as it
 * is; where some read or write the host's memory, every launch records them again.
 */
final class VulkanGraph implements BackendGraph {
  private final VulkanContext context;
  private final List<Command> commands;
  private final @Nullable CommandPool pool;
  private final @Nullable Submission recording;
  private final AtomicBoolean closed = new AtomicBoolean();

  VulkanGraph(VulkanContext context, long layout, List<Command> commands) {
    this.context = context;
    this.commands = List.copyOf(commands);
    if (commands.isEmpty() || !commands.stream().allMatch(Command::isOfDeviceAlone)) {
      pool = null;
      recording = null;
      return;
    }
    CommandPool own = new CommandPool(context);
    try {
      Submission submission = new Submission(context, layout, own.allocate());
      try {
        submission.begin(VK10.VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT);
        for (Command command : commands) {
          submission.add(command);
        }
        submission.end();
      } catch (Throwable t) {
        submission.close();
        throw t;
      }
      pool = own;
      recording = submission;
    } catch (Throwable t) {
      own.close();
      throw t;
    }
    context.opened(this);
  }

  /** What to do where there is no command buffer. */
  List<Command> commands() {
    return commands;
  }

  /** The command buffer; null where launches record the commands. */
  @Nullable VkCommandBuffer recorded() {
    return recording == null ? null : recording.commands();
  }

  @Override
  public OptionalInt nodes() {
    return OptionalInt.of(commands.size());
  }

  /** What it names is the api's to keep. */
  @Override
  public void close() {
    try (var use = context.use().tryBegin()) {
      if (use != null
          && pool != null
          && recording != null
          && closed.compareAndSet(false, true)) { // else the device's end closes it, or has
        context.closed(this);
        recording.close();
        pool.close();
      }
    }
  }
}
