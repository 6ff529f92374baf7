package dev.weft.backend.cuda.kernels;

/**
 * How a launch is spread over the device.
 *
 * @param gridX blocks, at least 1; a multiple of {@code cluster}
 * @param gridY blocks, 1 to 65,535
 * @param gridZ blocks, 1 to 65,535
 * @param threads of a block
 * @param sharedBytes dynamic shared memory of a block
 * @param cluster neighbouring blocks along x that run together (Hopper and later), else 1
 * @param overlapping whether the launch may begin before the one ahead of it in the stream has
 *     ended. The kernel then waits by griddepcontrol.wait before it reads what that one writes
 *     (programmatic dependent launch). Ignored where the kernel's image has no such instruction.
 */
public record LaunchShape(
    long gridX,
    int gridY,
    int gridZ,
    int threads,
    int sharedBytes,
    int cluster,
    boolean overlapping) {
  /** A plain grid. */
  public static LaunchShape of(long gridX, int gridY, int threads) {
    return new LaunchShape(gridX, gridY, 1, threads, 0, 1, false);
  }

  /** The same with blocks along z. */
  public LaunchShape withGridZ(int blocks) {
    return new LaunchShape(gridX, gridY, blocks, threads, sharedBytes, cluster, overlapping);
  }

  /** The same with dynamic shared memory. */
  public LaunchShape withShared(int bytes) {
    return new LaunchShape(gridX, gridY, gridZ, threads, bytes, cluster, overlapping);
  }

  /** The same in clusters of blocks. */
  public LaunchShape withCluster(int blocks) {
    return new LaunchShape(gridX, gridY, gridZ, threads, sharedBytes, blocks, overlapping);
  }

  /** The same, allowed to overlap the end of the launch ahead of it. */
  public LaunchShape overlappingPredecessor() {
    return new LaunchShape(gridX, gridY, gridZ, threads, sharedBytes, cluster, true);
  }

  /** The same, behind the end of the launch ahead of it. */
  LaunchShape alone() {
    return overlapping
        ? new LaunchShape(gridX, gridY, gridZ, threads, sharedBytes, cluster, false)
        : this;
  }

  /** Whether cuLaunchKernel cannot express it. */
  boolean needsAttributes() {
    return cluster > 1 || overlapping;
  }
}
