/**
 * What the GPU backends share.
 *
 * <p>A <em>recipe</em> is the implementation of an operation as a chain of dispatches against
 * {@link dev.weft.gpu.ComputeDevice} and {@link dev.weft.gpu.ComputeStream}; a portable backend
 * brings the kernels, whose names and parameters the recipe decides. A <em>plan</em> is a pure
 * function of sizes: workspace layouts, groups, tiles.
 */
package dev.weft.gpu;
