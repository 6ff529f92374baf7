/** Benchmarks of what the host's clock has to measure; docs/performance.md says how to run them. */
@org.jspecify.annotations.NullMarked
package dev.weft.benchmarks;
