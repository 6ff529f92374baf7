/** Wrong providers. Each wraps the backend {@code cpu} and breaks one thing. */
package dev.weft.conformance.mutants;
