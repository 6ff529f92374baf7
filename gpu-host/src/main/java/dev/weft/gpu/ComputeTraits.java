package dev.weft.gpu;

/**
 * What a device can do, as far as recipes choose by it. Two devices of the same traits get the same
 * kernels.
 *
 * @param computeUnits cores, multiprocessors or compute units; at least 1
 * @param mostGroupSize the most work-items of a group
 * @param localBytes the most local memory of a group
 * @param matrixUnits the matrix units that kernels may use
 * @param waveSize work-items that run in step: 32 or 64 on GPUs
 * @param isCpu whether the device is a CPU, where a group is a loop and local memory is no faster
 *     than any other
 */
public record ComputeTraits(
    int computeUnits,
    int mostGroupSize,
    long localBytes,
    MatrixUnits matrixUnits,
    int waveSize,
    boolean isCpu) {}
