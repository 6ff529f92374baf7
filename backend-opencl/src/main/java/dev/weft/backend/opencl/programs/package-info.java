/** Kernel sources, the programs built of them, and the cache of programs on disk. */
package dev.weft.backend.opencl.programs;
