package dev.weft.gpu;

import dev.weft.spi.BackendStream;
import dev.weft.spi.LaunchContext;

/** A stream that takes dispatches, as recipes see it. */
public interface ComputeStream extends BackendStream {
  /** The stream that a launch goes to. */
  static ComputeStream of(LaunchContext context) {
    return (ComputeStream) context.stream();
  }

  /**
   * Runs a launch: what it enqueues may reach the device together, at its end at the latest. Work
   * on another stream that waits for it, or a wait of the host, comes after.
   *
   * @param context where to
   * @param work enqueues on the stream of the context, without waiting for any of it
   */
  static void launch(LaunchContext context, Runnable work) {
    ComputeStream stream = of(context);
    stream.beginLaunch();
    try {
      work.run();
    } finally {
      stream.endLaunch();
    }
  }

  /** Lets commands be collected until the launch ends. Launches do not nest. */
  void beginLaunch();

  /** Hands the device what was collected. */
  void endLaunch();

  /**
   * Says that the next dispatch neither reads nor writes what those write that were enqueued since
   * the last one that was not independent, that one included: they may run side by side.
   */
  void independent();

  /**
   * Empties the block of arguments for the next dispatch. It is the stream's own: there is but one.
   */
  Arguments arguments();

  /**
   * Enqueues a kernel with the arguments put into {@link #arguments()} since it was last called.
   * Nothing is enqueued where there are no groups.
   *
   * @param kernel a kernel of the stream's device
   * @param groupsX groups along x, fewer than 2^31
   * @param groupsY groups along y, at most 65,535
   * @param groupsZ groups along z, at most 65,535
   * @param groupSize work-items of a group, all along x
   */
  void dispatch(ComputeKernel kernel, long groupsX, long groupsY, long groupsZ, int groupSize);
}
