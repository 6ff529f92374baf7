package dev.weft.gpu;

/** A kernel compiled for a device; immutable, shared by threads. Lives as long as the device. */
public interface ComputeKernel {
  /** What it was asked for by. */
  KernelName name();

  /** The most work-items of a group that the device runs this kernel with. */
  int mostGroupSize();
}
