/**
 * What users of Weft call: open a {@link dev.weft.Device}, prepare an operation, enqueue it on a
 * {@link dev.weft.Stream} over {@link dev.weft.Tensor}s.
 *
 * <p>Classes here validate, name errors and emit JFR events, then call the backend through {@link
 * dev.weft.spi}. The same bad input therefore gives the same exception on every backend.
 */
package dev.weft;
