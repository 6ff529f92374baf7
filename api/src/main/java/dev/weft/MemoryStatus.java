package dev.weft;

/**
 * Device memory at one moment, in bytes.
 *
 * @param live allocated through this device and not yet released: tensors, scratch, packed weights
 * @param peak the largest {@code live} so far
 * @param pooled held by the backend for later allocations
 * @param limit {@link DeviceOptions#memoryLimit()}; 0 for none
 * @param free what the device itself says is free, or -1
 */
public record MemoryStatus(long live, long peak, long pooled, long limit, long free) {}
