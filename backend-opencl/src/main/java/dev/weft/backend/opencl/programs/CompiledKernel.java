package dev.weft.backend.opencl.programs;

import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.KernelName;

/**
 * A function of a built program. A cl_kernel holds the arguments of its next dispatch, so each
 * stream makes one of its own.
 *
 * @param name what it was asked for by
 * @param program the cl_program, which lives as long as the device
 * @param mostGroupSize the most work-items of a group
 */
public record CompiledKernel(KernelName name, long program, int mostGroupSize)
    implements ComputeKernel {}
