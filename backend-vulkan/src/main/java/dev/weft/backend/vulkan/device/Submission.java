package dev.weft.backend.vulkan.device;

import dev.weft.backend.vulkan.driver.Result;
import dev.weft.backend.vulkan.shaders.Pipelines;
import dev.weft.backend.vulkan.shaders.VulkanKernel;
import dev.weft.gpu.MemoryPool;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VkBufferCopy;
import org.lwjgl.vulkan.VkCommandBuffer;
import org.lwjgl.vulkan.VkCommandBufferBeginInfo;
import org.lwjgl.vulkan.VkMemoryBarrier;

/**
 * A command buffer with the host memory that its commands read and write. Recorded by its stream's
 * thread; what is left to do on the host when it is done is done by whoever notices first. Then it
 * is used again.
 */
final class Submission {
  private static final long SCRATCH_BYTES = 64 << 10;
  private static final long SPAN_ALIGNMENT = 64;

  /** The push constants before the arguments: the first group, and how many there are. */
  private static final int HEAD_BYTES = 8;

  private static final int STAGES =
      VK10.VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK10.VK_PIPELINE_STAGE_TRANSFER_BIT;
  private static final int WRITES =
      VK10.VK_ACCESS_SHADER_WRITE_BIT | VK10.VK_ACCESS_TRANSFER_WRITE_BIT;
  private static final int ACCESSES =
      WRITES | VK10.VK_ACCESS_SHADER_READ_BIT | VK10.VK_ACCESS_TRANSFER_READ_BIT;

  private final VulkanContext context;
  private final long layout;
  private final VkCommandBuffer commands;
  private final List<MemoryPool.Block<DeviceBuffer>> blocks = new ArrayList<>();
  private final List<Download> downloads = new ArrayList<>();
  private final List<MemoryPool.Block<ArgumentMemory.Block>> argumentBlocks = new ArrayList<>();
  private DeviceBuffer scratch;
  private long scratchUsed;
  private int argumentsUsed;
  private long stagedBytes;
  private long value;

  /** Bytes that arrived in staging memory and belong elsewhere on the host. */
  private record Download(Span from, MemorySegment to) {}

  /** Some mapped host memory of this submission. */
  record Span(DeviceBuffer buffer, long offset, long bytes) {
    MemorySegment host() {
      return buffer.host(offset, bytes);
    }

    long address() {
      return buffer.address() + offset;
    }
  }

  Submission(VulkanContext context, long layout, VkCommandBuffer commands) {
    this.context = context;
    this.layout = layout;
    this.commands = commands;
    MemoryPool.Block<DeviceBuffer> block = context.staging().take(SCRATCH_BYTES);
    blocks.add(block);
    scratch = block.handle();
  }

  VkCommandBuffer commands() {
    return commands;
  }

  /** The value of its stream's timeline that says that it is done. */
  long value() {
    return value;
  }

  void submitted(long reaches) {
    value = reaches;
  }

  /** Bytes of host memory that it holds for transfers. */
  long stagedBytes() {
    return stagedBytes;
  }

  // ---- recording

  /** Begins, with VK_COMMAND_BUFFER_USAGE flags. */
  void begin(int flags) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkCommandBufferBeginInfo info =
          VkCommandBufferBeginInfo.calloc(stack).sType$Default().flags(flags);
      Result.check("vkBeginCommandBuffer", VK10.vkBeginCommandBuffer(commands, info));
    }
  }

  /** Records a command, after all before it unless it is independent. */
  void add(Command command) {
    if (!command.isIndependent()) {
      barrier();
    }
    command.record(this);
  }

  void end() {
    if (!downloads.isEmpty()) {
      barrier(VK10.VK_PIPELINE_STAGE_HOST_BIT, VK10.VK_ACCESS_HOST_READ_BIT);
    }
    Result.check("vkEndCommandBuffer", VK10.vkEndCommandBuffer(commands));
  }

  /** Lets what follows see all that was written before it. */
  void barrier() {
    barrier(STAGES, ACCESSES);
  }

  /** Lets the host see what was written into pinned memory. */
  void barrierForHost() {
    barrier(VK10.VK_PIPELINE_STAGE_HOST_BIT, VK10.VK_ACCESS_HOST_READ_BIT);
  }

  private void barrier(int stages, int accesses) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkMemoryBarrier.Buffer barrier =
          VkMemoryBarrier.calloc(1, stack)
              .sType$Default()
              .srcAccessMask(WRITES)
              .dstAccessMask(accesses);
      VK10.vkCmdPipelineBarrier(commands, STAGES, stages, 0, barrier, null, null);
    }
  }

  /** Host memory that lives until the submission is done. */
  Span take(long bytes) {
    long rounded = (bytes + SPAN_ALIGNMENT - 1) / SPAN_ALIGNMENT * SPAN_ALIGNMENT;
    if (rounded > SCRATCH_BYTES / 4) {
      MemoryPool.Block<DeviceBuffer> own = context.staging().take(bytes);
      blocks.add(own);
      stagedBytes += own.size();
      return new Span(own.handle(), 0, bytes);
    }
    if (scratchUsed + rounded > scratch.bytes()) {
      MemoryPool.Block<DeviceBuffer> more = context.staging().take(SCRATCH_BYTES);
      blocks.add(more);
      scratch = more.handle();
      scratchUsed = 0;
    }
    Span span = new Span(scratch, scratchUsed, bytes);
    scratchUsed += rounded;
    return span;
  }

  /** Puts the arguments of the next dispatch where it looks for them. */
  private void store(byte[] arguments, MemoryStack stack) {
    if (argumentBlocks.isEmpty()
        || argumentsUsed + ArgumentMemory.MOST_BYTES > ArgumentMemory.BLOCK_BYTES) {
      argumentBlocks.add(context.argumentMemory().take());
      argumentsUsed = 0;
    }
    ArgumentMemory.Block block = argumentBlocks.getLast().handle();
    MemorySegment.copy(
        MemorySegment.ofArray(arguments),
        0,
        block.buffer().host(argumentsUsed, arguments.length),
        0,
        arguments.length);
    VK10.vkCmdBindDescriptorSets(
        commands,
        VK10.VK_PIPELINE_BIND_POINT_COMPUTE,
        layout,
        0,
        stack.longs(block.set()),
        stack.ints(argumentsUsed));
    int alignment = ArgumentMemory.ALIGNMENT;
    argumentsUsed += (arguments.length + alignment - 1) / alignment * alignment;
  }

  void copy(long source, long sourceOffset, long target, long targetOffset, long bytes) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkBufferCopy.Buffer region =
          VkBufferCopy.calloc(1, stack).srcOffset(sourceOffset).dstOffset(targetOffset).size(bytes);
      VK10.vkCmdCopyBuffer(commands, source, target, region);
    }
  }

  /** Copies to the host; it is all there once {@link #finish()} has run. */
  void download(long source, long sourceOffset, MemorySegment target) {
    Span span = take(target.byteSize());
    copy(source, sourceOffset, span.buffer.handle(), span.offset, span.bytes);
    downloads.add(new Download(span, target));
  }

  /** Fills any bytes: whole words by the device, what is left of the first and last by a copy. */
  void fill(long target, long offset, long bytes, byte value) {
    long head = Math.min(bytes, -offset & 3);
    long words = (bytes - head) & ~3L;
    long tail = bytes - head - words;
    if (words > 0) {
      VK10.vkCmdFillBuffer(
          commands, target, offset + head, words, Byte.toUnsignedInt(value) * 0x01010101);
    }
    if (head + tail > 0) {
      Span span = take(4);
      span.host().fill(value);
      if (head > 0) {
        copy(span.buffer.handle(), span.offset, target, offset, head);
      }
      if (tail > 0) {
        copy(span.buffer.handle(), span.offset, target, offset + head + words, tail);
      }
    }
  }

  /** Runs a kernel, in pieces if the device takes fewer groups at once. */
  void dispatch(VulkanKernel kernel, byte[] arguments, long groupsX, long groupsY, long groupsZ) {
    long most = context.properties().limits().mostGroups();
    VK10.vkCmdBindPipeline(commands, VK10.VK_PIPELINE_BIND_POINT_COMPUTE, kernel.pipeline());
    try (MemoryStack stack = MemoryStack.stackPush()) {
      ByteBuffer pushed = stack.malloc(8, Pipelines.PUSHED_BYTES);
      pushed.putInt(0, 0).putInt(4, (int) groupsX);
      if (kernel.pushed()) {
        pushed.put(HEAD_BYTES, arguments).limit(roundedToWords(HEAD_BYTES + arguments.length));
      } else {
        store(arguments, stack);
        pushed.limit(HEAD_BYTES);
      }
      int stage = VK10.VK_SHADER_STAGE_COMPUTE_BIT;
      VK10.vkCmdPushConstants(commands, layout, stage, 0, pushed);
      for (long first = 0; first < groupsX; first += most) {
        if (first > 0) {
          pushed.putInt(0, (int) first).limit(4);
          VK10.vkCmdPushConstants(commands, layout, stage, 0, pushed);
        }
        VK10.vkCmdDispatch(
            commands, (int) Math.min(most, groupsX - first), (int) groupsY, (int) groupsZ);
      }
    }
  }

  private static int roundedToWords(int bytes) {
    return (bytes + 3) / 4 * 4;
  }

  /** The most bytes of arguments that a kernel may have. */
  static int mostArguments(VulkanKernel kernel) {
    return kernel.pushed() ? Pipelines.PUSHED_BYTES - HEAD_BYTES : ArgumentMemory.MOST_BYTES;
  }

  void timestamp(Timestamps.Slot slot) {
    VK10.vkCmdWriteTimestamp(
        commands, VK10.VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, slot.pool(), slot.index());
  }

  // ---- done

  /** Whether it is still to write host memory that a segment shares. */
  boolean writes(MemorySegment segment) {
    for (Download download : downloads) {
      long from = download.to.address();
      if (from < segment.address() + segment.byteSize()
          && segment.address() < from + download.to.byteSize()) {
        return true;
      }
    }
    return false;
  }

  /** Brings what was downloaded to where it belongs, and gives memory back. */
  void finish() {
    for (Download download : downloads) {
      download.to.copyFrom(download.from.host());
    }
    abandon();
  }

  /** Gives memory back; what was recorded is not done. */
  void abandon() {
    downloads.clear();
    while (blocks.size() > 1) {
      context.staging().give(blocks.removeLast());
    }
    scratch = blocks.getFirst().handle();
    scratchUsed = 0;
    stagedBytes = 0;
    while (argumentBlocks.size() > 1) {
      context.argumentMemory().give(argumentBlocks.removeLast());
    }
    argumentsUsed = 0;
  }

  /** Gives the last of its memory back. */
  void close() {
    abandon();
    context.staging().give(blocks.removeLast());
    if (!argumentBlocks.isEmpty()) {
      context.argumentMemory().give(argumentBlocks.removeLast());
    }
  }

  /** The memory of a segment, whichever thread may use the segment itself. */
  @SuppressWarnings("restricted") // the caller keeps it alive until the copy is done
  static MemorySegment unconfined(MemorySegment segment) {
    return MemorySegment.ofAddress(segment.address()).reinterpret(segment.byteSize());
  }
}
