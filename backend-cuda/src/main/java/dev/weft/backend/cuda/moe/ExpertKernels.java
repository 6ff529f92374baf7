package dev.weft.backend.cuda.moe;

import dev.weft.backend.cuda.device.CudaStream;
import java.util.Optional;

/**
 * A way to run experts. A launch takes the first way that has a tiling for it; the generic kernels
 * have one for every launch. Which is a pure function of spec, sizes, alignment and device.
 */
interface ExpertKernels {
  /**
   * How rows are cut.
   *
   * @param projectRows rows of a tile of the first projection's list; 0 if it needs no list
   * @param downRows rows of a tile of the second projection's list; 0 if it needs no list
   */
  record Tiling(int projectRows, int downRows) {}

  /**
   * How it would cut a launch; nothing where it does not take it.
   *
   * @param shape the launch, before its scratch is laid out
   */
  Optional<Tiling> tiling(ExpertShape shape);

  /** Enqueues the first projection with the activation, and the second. */
  void enqueue(CudaStream stream, ExpertWork work, Tiling tiling);
}
