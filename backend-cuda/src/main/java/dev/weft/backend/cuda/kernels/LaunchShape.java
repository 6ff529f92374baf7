package dev.weft.backend.cuda.kernels;

/**
 * How a launch is spread over the device.
 *
 * @param gridX blocks, at least 1
 * @param gridY blocks, 1 to 65,535
 * @param threads of a block
 * @param sharedBytes dynamic shared memory of a block
 * @param overlapping whether the launch may begin before the one ahead of it in the stream has
 *     ended. The kernel then waits by griddepcontrol.wait before it reads what that one writes
 *     (programmatic dependent launch). Ignored where the kernel's image has no such instruction.
 */
public record LaunchShape(
    long gridX, int gridY, int threads, int sharedBytes, boolean overlapping) {
  /** A plain grid. */
  public static LaunchShape of(long gridX, int gridY, int threads) {
    return new LaunchShape(gridX, gridY, threads, 0, false);
  }

  /** The same with dynamic shared memory. */
  public LaunchShape withShared(int bytes) {
    return new LaunchShape(gridX, gridY, threads, bytes, overlapping);
  }

  /** The same, allowed to overlap the end of the launch ahead of it. */
  public LaunchShape overlappingPredecessor() {
    return new LaunchShape(gridX, gridY, threads, sharedBytes, true);
  }
}
