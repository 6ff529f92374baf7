/**
 * The inner loops of the provider {@code cpu} on float32 arrays: one set of primitives, as plain
 * Java and as vectors. Operations are written against {@link
 * dev.weft.backend.cpu.arithmetic.Arithmetic} and never see which of the two runs.
 */
package dev.weft.backend.cpu.arithmetic;
