package dev.weft.spi;

import org.jspecify.annotations.Nullable;

/**
 * Where a launch goes, and its scratch memory.
 *
 * @param stream the stream to enqueue on
 * @param workspace scratch memory that is this launch's own until it ends, with any content; null
 *     iff {@code workspaceBytes} is 0
 * @param workspaceOffset where the scratch starts, in bytes; a multiple of 256
 * @param workspaceBytes its size: what the kernel's {@code workspaceBytes} gave for this launch's
 *     {@link dev.weft.Limits}
 */
public record LaunchContext(
    BackendStream stream,
    @Nullable BackendMemory workspace,
    long workspaceOffset,
    long workspaceBytes) {}
