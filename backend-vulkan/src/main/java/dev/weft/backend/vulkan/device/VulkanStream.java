package dev.weft.backend.vulkan.device;

import dev.weft.backend.vulkan.device.Timelines.Timeline;
import dev.weft.backend.vulkan.shaders.VulkanKernel;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.MemorySegment;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VkCommandBuffer;
import org.lwjgl.vulkan.VkSubmitInfo;
import org.lwjgl.vulkan.VkTimelineSemaphoreSubmitInfo;

/**
 * Submissions to a queue, in order. Each command is submitted at once, so that the device begins
 * with it whatever the caller does next; a launch of an operation is one submission, and so is a
 * graph. Host memory that is not pinned is staged: an upload reads it when it is enqueued, a
 * download's last step is taken by whoever first notices that the device is done.
 */
final class VulkanStream implements ComputeStream {
  /** Of transfers: longer ones go in pieces, so that staging memory stays small. */
  private static final long PIECE_BYTES = 32 << 20;

  private static final long MOST_STAGED_BYTES = 4 * PIECE_BYTES;
  private static final int MOST_IN_FLIGHT = 256;

  private final VulkanContext context;
  private final long layout;
  private final @Nullable DeviceCopy deviceCopy;
  private final int queue;
  private final Timeline timeline;
  private final CommandPool pool;
  private final ArgumentBlock arguments = new ArgumentBlock();
  private final Map<Timeline, Long> waits = new HashMap<>();

  /** Guards itself, {@link #idle} and {@link #stagedBytes}: any thread may retire submissions. */
  private final Deque<Submission> inFlight = new ArrayDeque<>();

  private final Deque<Submission> idle = new ArrayDeque<>();
  private long stagedBytes;
  private boolean closed;
  private @Nullable List<Command> capture;
  private boolean isInLaunch;
  private boolean isIndependent;

  /** When the device is done with the last submission; null if an event has it. */
  private Timestamps.@Nullable Slot lastTime;

  /** What was recorded of the launch that is under way. */
  private @Nullable Submission launch;

  /**
   * A new stream.
   *
   * @param context the device
   * @param layout the VkPipelineLayout of all kernels
   * @param deviceCopy how to copy within device memory; null for the driver's own way
   */
  VulkanStream(VulkanContext context, long layout, @Nullable DeviceCopy deviceCopy) {
    this.context = context;
    this.deviceCopy = deviceCopy;
    this.layout = layout;
    queue = context.assignQueue();
    timeline = context.timelines().take();
    try {
      pool = new CommandPool(context);
    } catch (Throwable t) {
      context.timelines().give(timeline);
      throw t;
    }
    context.opened(this);
  }

  // ---- submissions

  /** Does a command, adds it to the launch under way, or keeps it for a graph. */
  private void enqueue(Command command) {
    if (capture != null) {
      capture.add(command);
      return;
    }
    try (var _ = context.use().begin()) {
      if (isInLaunch) {
        Submission submission = launch == null ? begin() : launch;
        launch = null; // given back if recording fails
        launch = record(submission, command);
      } else {
        run(List.of(command));
      }
    }
  }

  /** Submits commands as one. */
  private void run(List<Command> commands) {
    Submission submission = begin();
    for (Command command : commands) {
      submission = record(submission, command);
    }
    submit(submission);
    context.messages().check();
  }

  /**
   * Records a command; what was recorded is submitted before if the command reads on the host what
   * is still to be written there.
   */
  private Submission record(Submission begun, Command command) {
    Submission submission = begun;
    MemorySegment source = command.reads();
    if (source != null && awaits(source, submission)) {
      submit(submission);
      timeline.await(timeline.last());
      retire();
      submission = begin();
    }
    try {
      submission.add(command);
    } catch (Throwable t) {
      giveBack(submission);
      throw t;
    }
    return submission;
  }

  @Override
  public void beginLaunch() {
    isInLaunch = true;
  }

  @Override
  public void endLaunch() {
    isInLaunch = false;
    Submission recorded = launch;
    if (recorded != null) {
      launch = null;
      try (var _ = context.use().begin()) {
        submit(recorded);
        context.messages().check();
      }
    }
  }

  @Override
  public void independent() {
    isIndependent = true;
  }

  private boolean awaits(MemorySegment source, Submission recorded) {
    if (recorded.writes(source)) {
      return true;
    }
    synchronized (inFlight) {
      return inFlight.stream().anyMatch(submission -> submission.writes(source));
    }
  }

  private Submission begin() {
    retire();
    while (true) {
      Submission oldest;
      synchronized (inFlight) {
        oldest = inFlight.peek();
        if (oldest == null
            || (inFlight.size() < MOST_IN_FLIGHT && stagedBytes < MOST_STAGED_BYTES)) {
          break;
        }
      }
      timeline.await(oldest.value());
      retire();
    }
    Submission submission;
    synchronized (inFlight) {
      submission = idle.poll();
    }
    if (submission == null) {
      submission = new Submission(context, layout, pool.allocate());
    }
    submission.begin(VK10.VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT);
    return submission;
  }

  private void submit(Submission submission) {
    submit(null, submission);
  }

  /** Submits, after a command buffer that was recorded before, if there is one. */
  private void submit(@Nullable VkCommandBuffer before, Submission submission) {
    long value = timeline.last() + 1;
    Timestamps.Slot time = context.timestamps().take();
    try (MemoryStack stack = MemoryStack.stackPush()) {
      submission.timestamp(time);
      submission.end();
      LongBuffer semaphores = stack.mallocLong(waits.size());
      LongBuffer values = stack.mallocLong(waits.size());
      IntBuffer stages = stack.mallocInt(waits.size());
      waits.forEach((other, reaches) -> {
        semaphores.put(other.semaphore());
        values.put(reaches);
        stages.put(VK10.VK_PIPELINE_STAGE_ALL_COMMANDS_BIT);
      });
      VkTimelineSemaphoreSubmitInfo timelines =
          VkTimelineSemaphoreSubmitInfo.calloc(stack)
              .sType$Default()
              .pSignalSemaphoreValues(stack.longs(value));
      VkSubmitInfo info =
          VkSubmitInfo.calloc(stack)
              .sType$Default()
              .pNext(timelines)
              .pCommandBuffers(
                  before == null
                      ? stack.pointers(submission.commands())
                      : stack.pointers(before, submission.commands()))
              .pSignalSemaphores(stack.longs(timeline.semaphore()));
      if (!waits.isEmpty()) {
        timelines.waitSemaphoreValueCount(waits.size()).pWaitSemaphoreValues(values.flip());
        info.waitSemaphoreCount(waits.size())
            .pWaitSemaphores(semaphores.flip())
            .pWaitDstStageMask(stages.flip());
      }
      submission.submitted(value);
      synchronized (inFlight) {
        // Before the device can be done with it: whoever waits finds it here.
        inFlight.add(submission);
        stagedBytes += submission.stagedBytes();
        try {
          context.submit(queue, info);
        } catch (Throwable t) {
          inFlight.removeLast();
          stagedBytes -= submission.stagedBytes();
          throw t;
        }
        timeline.submitted(value);
      }
    } catch (Throwable t) {
      context.timestamps().give(time, timeline, timeline.last());
      giveBack(submission);
      throw t;
    }
    waits.clear();
    giveTimeBack();
    lastTime = time;
  }

  private void giveTimeBack() {
    if (lastTime != null) {
      context.timestamps().give(lastTime, timeline, timeline.last());
      lastTime = null;
    }
  }

  private void giveBack(Submission submission) {
    submission.abandon();
    synchronized (inFlight) {
      idle.add(submission);
    }
  }

  /** Does on the host what is left of submissions that the device is done with. */
  void retire() {
    synchronized (inFlight) {
      if (inFlight.isEmpty()) {
        return;
      }
      long reached = timeline.reached();
      while (!inFlight.isEmpty() && inFlight.element().value() <= reached) {
        Submission done = inFlight.remove();
        stagedBytes -= done.stagedBytes();
        done.finish();
        idle.add(done);
      }
    }
  }

  // ---- dispatches

  @Override
  public Arguments arguments() {
    return arguments.reset();
  }

  @Override
  public void dispatch(
      ComputeKernel kernel, long groupsX, long groupsY, long groupsZ, int groupSize) {
    boolean independent = isIndependent;
    isIndependent = false;
    if (groupsX == 0 || groupsY == 0 || groupsZ == 0) {
      return;
    }
    VulkanKernel compiled = (VulkanKernel) kernel;
    byte[] values = arguments.toBytes();
    if (groupSize != compiled.groupSize()) {
      throw new IllegalArgumentException(
          compiled.name() + ": groups of " + groupSize + ", its have " + compiled.groupSize());
    }
    int most = Submission.mostArguments(compiled);
    if (values.length > most) {
      throw new IllegalArgumentException(
          compiled.name() + ": " + values.length + " bytes of arguments, at most " + most);
    }
    enqueue(new Dispatch(compiled, values, groupsX, groupsY, groupsZ, independent));
  }

  private static final class Dispatch implements Command {
    private final VulkanKernel kernel;
    private final byte[] arguments;
    private final long groupsX;
    private final long groupsY;
    private final long groupsZ;
    private final boolean independent;

    Dispatch(
        VulkanKernel kernel,
        byte[] arguments,
        long groupsX,
        long groupsY,
        long groupsZ,
        boolean independent) {
      this.kernel = kernel;
      this.arguments = arguments;
      this.groupsX = groupsX;
      this.groupsY = groupsY;
      this.groupsZ = groupsZ;
      this.independent = independent;
    }

    @Override
    public void record(Submission submission) {
      submission.dispatch(kernel, arguments, groupsX, groupsY, groupsZ);
    }

    @Override
    public boolean isIndependent() {
      return independent;
    }

    @Override
    public boolean isOfDeviceAlone() {
      return true;
    }
  }

  // ---- transfers

  /** To the device; recording reads the source. */
  private record Upload(VulkanContext context, MemorySegment source, long target, long targetOffset)
      implements Command {
    @Override
    public void record(Submission submission) {
      long bytes = source.byteSize();
      DeviceBuffer pinned = context.pinnedAround(source);
      if (pinned != null) {
        submission.copy(
            pinned.handle(), source.address() - pinned.mapped(), target, targetOffset, bytes);
      } else {
        Submission.Span span = submission.take(bytes);
        span.host().copyFrom(source);
        submission.copy(span.buffer().handle(), span.offset(), target, targetOffset, bytes);
      }
    }

    @Override
    public @Nullable MemorySegment reads() {
      return context.pinnedAround(source) == null ? source : null;
    }
  }

  @Override
  public void upload(MemorySegment source, BackendMemory target, long targetOffset) {
    VulkanMemory to = (VulkanMemory) target;
    MemorySegment bytes = Submission.unconfined(source);
    for (long at = 0; at < bytes.byteSize(); at += PIECE_BYTES) {
      long piece = Math.min(PIECE_BYTES, bytes.byteSize() - at);
      enqueue(
          new Upload(
              context, bytes.asSlice(at, piece), to.buffer(), to.offset() + targetOffset + at));
    }
  }

  @Override
  public void download(BackendMemory source, long sourceOffset, MemorySegment target) {
    VulkanMemory from = (VulkanMemory) source;
    MemorySegment bytes = Submission.unconfined(target);
    for (long at = 0; at < bytes.byteSize(); at += PIECE_BYTES) {
      MemorySegment piece = bytes.asSlice(at, Math.min(PIECE_BYTES, bytes.byteSize() - at));
      long offset = from.offset() + sourceOffset + at;
      enqueue(submission -> {
        DeviceBuffer pinned = context.pinnedAround(piece);
        if (pinned != null) {
          submission.copy(
              from.buffer(),
              offset,
              pinned.handle(),
              piece.address() - pinned.mapped(),
              piece.byteSize());
          submission.barrierForHost();
        } else {
          submission.download(from.buffer(), offset, piece);
        }
      });
    }
  }

  @Override
  public void copy(
      BackendMemory source,
      long sourceOffset,
      BackendMemory target,
      long targetOffset,
      long bytes) {
    if (bytes == 0) {
      return;
    }
    VulkanMemory from = (VulkanMemory) source;
    VulkanMemory to = (VulkanMemory) target;
    DeviceCopy kernels = deviceCopy;
    if (kernels != null && bytes >= DeviceCopy.LEAST_BYTES) {
      enqueue(
          submission -> kernels.record(submission, from, sourceOffset, to, targetOffset, bytes));
    } else {
      enqueue(
          new Command.OnDevice(submission ->
              submission.copy(
                  from.buffer(),
                  from.offset() + sourceOffset,
                  to.buffer(),
                  to.offset() + targetOffset,
                  bytes)));
    }
  }

  @Override
  public void fill(BackendMemory target, long targetOffset, long bytes, byte value) {
    if (bytes != 0) {
      VulkanMemory to = (VulkanMemory) target;
      enqueue(
          new Command.OnDevice(submission ->
              submission.fill(to.buffer(), to.offset() + targetOffset, bytes, value)));
    }
  }

  // ---- events, graphs

  /**
   * The end of the last submission, where the device is still at it; else the end of an empty one.
   */
  @Override
  public BackendEvent record() {
    try (var _ = context.use().begin()) {
      if (lastTime == null || !waits.isEmpty() || timeline.reached() >= timeline.last()) {
        run(List.of());
      }
      Timestamps.Slot time = Objects.requireNonNull(lastTime);
      lastTime = null;
      return new VulkanEvent(context, timeline, timeline.last(), time);
    }
  }

  @Override
  public void await(BackendEvent event) {
    VulkanEvent awaited = (VulkanEvent) event;
    if (awaited.timeline() == timeline) {
      return;
    }
    try (var _ = context.use().begin()) {
      // Devices take their time for a wait, even for what is over.
      if (awaited.timeline().reached() < awaited.value()) {
        waits.merge(awaited.timeline(), awaited.value(), Math::max);
      }
    }
  }

  @Override
  public void synchronize() {
    try (var _ = context.use().begin()) {
      if (!waits.isEmpty()) {
        run(List.of()); // what was awaited counts as work of this stream
      }
      timeline.await(timeline.last());
      context.retireAll();
      context.messages().check();
    }
  }

  @Override
  public void beginCapture() {
    capture = new ArrayList<>();
  }

  @Override
  public BackendGraph endCapture() {
    List<Command> recorded = capture;
    if (recorded == null) {
      throw new IllegalStateException("endCapture: no capture has begun");
    }
    capture = null;
    try (var _ = context.use().begin()) {
      return new VulkanGraph(context, layout, recorded);
    }
  }

  @Override
  public void launch(BackendGraph graph) {
    VulkanGraph launched = (VulkanGraph) graph;
    VkCommandBuffer recorded = launched.recorded();
    try (var _ = context.use().begin()) {
      if (recorded == null) {
        run(launched.commands());
      } else {
        submit(recorded, begin());
        context.messages().check();
      }
    }
  }

  @Override
  public void close() {
    try (var use = context.use().tryBegin()) {
      if (use != null) { // else the device's end closes it, or has
        release();
      }
    }
  }

  private void release() {
    context.closed(this);
    synchronized (inFlight) {
      if (closed) {
        return;
      }
      closed = true;
      inFlight.forEach(Submission::close); // none, unless the device is lost
      idle.forEach(Submission::close);
      inFlight.clear();
      idle.clear();
    }
    giveTimeBack();
    pool.close();
    context.timelines().give(timeline);
  }
}
