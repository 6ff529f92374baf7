/**
 * Test vectors: files that hold an operation's inputs and what an implementation returned for them.
 *
 * <p>{@link dev.weft.conformance.vectors.Safetensors} reads and writes the container, {@link
 * dev.weft.conformance.vectors.CaseFile} gives it the meaning of format {@code weft-case-1}, {@link
 * dev.weft.conformance.vectors.CaseRunner} computes its outputs on a device and {@link
 * dev.weft.conformance.vectors.CaseComparison} compares them with the ones expected. {@link
 * dev.weft.conformance.vectors.GoldenVectors} are the cases that come with the suite: what the
 * original implementations returned.
 */
package dev.weft.conformance.vectors;
