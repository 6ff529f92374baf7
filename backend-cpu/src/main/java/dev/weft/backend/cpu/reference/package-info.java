/**
 * The oracle: SEMANTICS as plain loops with float64 accumulation, and the error bounds that the
 * tolerance law allows.
 */
package dev.weft.backend.cpu.reference;
