/**
 * The conformance suite. A backend's tests extend {@link
 * dev.weft.conformance.KernelProviderConformance}; programs use {@link
 * dev.weft.conformance.ConformanceRun}.
 *
 * <p>A {@link dev.weft.conformance.CaseCatalogue} lists {@link
 * dev.weft.conformance.ConformanceCase}s. Each runs against a {@link
 * dev.weft.conformance.CaseContext}, which draws inputs, places them in guarded memory on the
 * device under test and on the {@code reference} device, launches twice, and compares with what the
 * oracle allows.
 */
package dev.weft.conformance;
