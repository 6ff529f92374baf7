/** The operations on all cores, in float32. */
package dev.weft.backend.cpu.parallel;
