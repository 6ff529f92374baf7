package dev.weft;

import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendStream;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;

/**
 * The copies and fills of a stream, whose public methods say what each does: which host memory has
 * to be staged, and the runs of bytes that a strided tensor comes to.
 */
final class Transfers {
  private final Stream stream;
  private final Device device;
  private final BackendStream backend;
  private final HostCopies hostCopies;

  /**
   * Takes a stream's parts.
   *
   * @param hostCopies what the stream's next waits copy to the host; guarded by its lock
   */
  Transfers(Stream stream, HostCopies hostCopies) {
    this.stream = stream;
    this.device = stream.device();
    this.backend = stream.backend();
    this.hostCopies = hostCopies;
  }

  void upload(HostTensor source, Tensor target) {
    checkSame("upload", source.dataType(), source.shape(), target);
    if (source.elements() == 0) {
      return;
    }
    stream.locked(() -> {
      MemorySegment segment = source.segment();
      if (isReachable(segment)) {
        enqueueUpload(segment, target, List.of(target.lifetime()));
        return;
      }
      if (stream.isCapturedByOwner()) {
        throw new IllegalStateException(
            "upload: " + stream + " is being captured by its owner; give a shared native segment");
      }
      BackendHostMemory staged = device.hostMemory(segment.byteSize());
      Lifetime staging = device.internalLifetime("staging memory", staged::close);
      try {
        MemorySegment from = staged.segment().asSlice(0, segment.byteSize()).copyFrom(segment);
        enqueueUpload(from, target, List.of(target.lifetime(), staging));
      } finally {
        staging.close();
      }
    });
  }

  private void enqueueUpload(MemorySegment from, Tensor target, List<Lifetime> lifetimes) {
    stream.enqueue(
        "upload",
        lifetimes,
        () ->
            StridedRuns.forEach(
                target,
                (offset, hostOffset, bytes) ->
                    backend.upload(from.asSlice(hostOffset, bytes), target.memory(), offset)));
  }

  void download(Tensor source, HostTensor target) {
    checkSame("download", target.dataType(), target.shape(), source);
    MemorySegment segment = target.segment();
    if (segment.isReadOnly()) {
      throw new IllegalArgumentException(
          "download: target: expected a writable segment, but " + target + " is read-only");
    }
    if (target.elements() == 0) {
      return;
    }
    stream.locked(() -> {
      if (isReachable(segment)) {
        stream.enqueue(
            "download", List.of(source.lifetime()), () -> enqueueDownload(source, segment));
        return;
      }
      if (stream.isCapturing()) {
        throw new IllegalStateException(
            "download: a graph can only fill shared native memory; give such a segment");
      }
      BackendHostMemory staged = device.hostMemory(segment.byteSize());
      Lifetime staging = device.internalLifetime("staging memory", staged::close);
      try {
        MemorySegment into = staged.segment().asSlice(0, segment.byteSize());
        stream.enqueue(
            "download",
            List.of(source.lifetime(), staging),
            () -> {
              enqueueDownload(source, into);
              hostCopies.add(stream.sequence(), into, segment, staging);
            });
      } catch (Throwable t) {
        staging.close();
        throw t;
      }
    });
  }

  private void enqueueDownload(Tensor source, MemorySegment into) {
    StridedRuns.forEach(
        source,
        (offset, hostOffset, bytes) ->
            backend.download(source.memory(), offset, into.asSlice(hostOffset, bytes)));
  }

  void copy(Tensor source, Tensor target) {
    checkSame("copy", source.dataType(), source.shape(), target);
    source.checkOpen("source");
    if (source.device() != device) {
      stream.locked(() -> stream.refuseWhileCapturing("copy between devices"));
      upload(source.download(), target);
      stream.synchronize();
      return;
    }
    if (source.mayOverlap(target)) {
      throw new IllegalArgumentException(
          "copy: source " + source + " and target " + target + " overlap; copy through a third");
    }
    if (source.elements() == 0) {
      return;
    }
    stream.locked(() ->
        stream.enqueue(
            "copy",
            List.of(source.lifetime(), target.lifetime()),
            () ->
                StridedRuns.forEachPair(
                    source,
                    target,
                    (from, to, bytes) ->
                        backend.copy(source.memory(), from, target.memory(), to, bytes))));
  }

  void fill(Tensor target, byte value) {
    stream.checkTensor("fill", "target", target);
    if (target.elements() == 0) {
      return;
    }
    stream.locked(() ->
        stream.enqueue(
            "fill",
            List.of(target.lifetime()),
            () ->
                StridedRuns.forEach(
                    target,
                    (offset, hostOffset, bytes) ->
                        backend.fill(target.memory(), offset, bytes, value))));
  }

  private void checkSame(String call, DataType type, long[] shape, Tensor tensor) {
    stream.checkTensor(call, "the tensor", tensor);
    if (type != tensor.dataType() || !Arrays.equals(shape, tensor.shape())) {
      throw new IllegalArgumentException(
          call
              + ": expected the type and shape of the device's "
              + tensor
              + ", but was "
              + type.text()
              + Arrays.toString(shape));
    }
  }

  /** Tells whether a device, and the threads of its backend, can reach a segment. */
  private static boolean isReachable(MemorySegment segment) {
    // Any thread but this one stands for the backend's.
    return segment.isNative() && segment.isAccessibleBy(Thread.ofVirtual().unstarted(() -> {}));
  }
}
