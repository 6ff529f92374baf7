/**
 * Weft for Guice: {@link dev.weft.guice.WeftModule} binds the chosen device, a device per backend,
 * all providers and the report of what was found.
 *
 * <p>Weft itself does not need Guice; this module only calls {@link dev.weft.Weft}.
 */
package dev.weft.guice;
