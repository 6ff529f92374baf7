/**
 * What both CPU providers share about MoBA: where the rows of a sequence lie, packed or paged, and
 * how a block's mean is rounded. Everything read from device memory is checked here, so that no
 * content of {@code cu_seqlens}, {@code cache_lens} or a page table leads out of bounds.
 */
package dev.weft.backend.cpu.moba;
