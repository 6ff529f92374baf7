/**
 * Kernel images: what the build compiled, which image a device takes, and how kernels are launched.
 */
package dev.weft.backend.cuda.kernels;
