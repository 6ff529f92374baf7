/** The providers {@code reference} and {@code cpu}. */
package dev.weft.backend.cpu;
