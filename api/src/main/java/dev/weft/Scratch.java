package dev.weft;

import dev.weft.spi.BackendMemory;
import org.jspecify.annotations.Nullable;

/**
 * The scratch memory of a stream's launches: an arena that grows, or a tensor that the caller lent.
 * Guarded by the stream's lock.
 */
final class Scratch {
  /** Offsets and sizes are multiples of this, which suits every device's vector loads. */
  private static final long ALIGNMENT = 256;

  private final Stream stream;
  private @Nullable Workspace current;
  private @Nullable Tensor lent;

  Scratch(Stream stream) {
    this.stream = stream;
  }

  /** The tensor that the caller lent, if any. */
  @Nullable Tensor lent() {
    return lent;
  }

  /** Scratch of at least the given size; grows the arena where that is allowed. */
  Workspace ensure(String what, long bytes) {
    Workspace workspace = current;
    if (workspace != null && workspace.bytes >= bytes) {
      return workspace;
    }
    long have = workspace == null ? 0 : workspace.bytes;
    String shortage = what + ": needs " + bytes + " bytes of scratch, but ";
    if (stream.isCapturing()) {
      throw new IllegalStateException(
          shortage
              + have
              + " are reserved, and a capture cannot allocate; call stream.reserve("
              + bytes
              + ") before it");
    }
    if (lent != null) {
      throw new IllegalStateException(
          shortage
              + "the tensor lent to "
              + stream
              + " has "
              + have
              + "; lend a larger one, or none");
    }
    drop();
    long size = Math.addExact(bytes, ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    Device device = stream.device();
    String purpose = "scratch of " + stream;
    BackendMemory memory = device.allocateMemory(purpose, size);
    Lifetime lifetime = device.internalLifetime(purpose, () -> device.releaseMemory(memory, size));
    Workspace grown = new Workspace(stream, memory, 0, size, lifetime);
    current = grown;
    WorkspaceGrowthEvent.emit(device.info().selector(), stream.toString(), have, size, what);
    return grown;
  }

  /** Takes a tensor instead of an arena, or with null goes back to one. */
  void lend(@Nullable Tensor tensor) {
    if (tensor != null) {
      int misalignment = tensor.memory().misalignment();
      if (!tensor.isContiguous() || (misalignment + tensor.byteOffset()) % ALIGNMENT != 0) {
        throw new IllegalArgumentException(
            "lend: scratch: expected a contiguous tensor at a multiple of 256 bytes, but was "
                + tensor
                + " at byte "
                + tensor.byteOffset()
                + (misalignment == 0 ? "" : " of memory that starts at byte " + misalignment));
      }
    }
    drop();
    if (tensor != null) {
      long bytes = tensor.elements() * tensor.dataType().bytes() / ALIGNMENT * ALIGNMENT;
      current =
          new Workspace(stream, tensor.memory(), tensor.byteOffset(), bytes, tensor.lifetime());
      lent = tensor;
    }
  }

  /** Gives the scratch up; graphs that were captured over it keep it. */
  void drop() {
    Workspace old = current;
    current = null;
    if (old != null) {
      if (lent == null) {
        old.lifetime.close();
      }
      old.release();
    }
    lent = null;
  }
}
