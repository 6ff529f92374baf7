package dev.weft.conformance.device;

import static dev.weft.conformance.device.DeviceCatalogue.deviceCase;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.HostTensor;
import dev.weft.MemoryStatus;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import java.util.stream.Stream;

/** Accounting, limits, and memory that runs out. */
final class MemoryCases {
  private static final String OPERATION = "device.memory";
  private static final long MIB = 1 << 20;

  private MemoryCases() {}

  static Stream<ConformanceCase> cases() {
    return Stream.of(
        deviceCase(OPERATION, "accounting", MemoryCases::accounting),
        deviceCase(OPERATION, "limit", MemoryCases::limit),
        deviceCase(OPERATION, "limit-counts-what-is-released", MemoryCases::limitReleases),
        deviceCase(OPERATION, "exhausted", MemoryCases::exhausted),
        deviceCase(OPERATION, "trim", MemoryCases::trim),
        deviceCase(OPERATION, "open-objects", MemoryCases::openObjects),
        deviceCase(OPERATION, "closed-while-in-use", MemoryCases::closedInUse));
  }

  private static void accounting(CaseContext c) {
    try (Device device = c.openAgain(o -> {})) {
      long before = device.memory().live();
      Tensor a = device.allocate(DataType.F32, 1000, 1000);
      MemoryStatus with = device.memory();
      c.require(
          with.live() - before == 4_000_000,
          "live: expected " + (before + 4_000_000) + ", but was " + with.live());
      c.require(with.peak() >= with.live(), "peak " + with.peak() + " below live " + with.live());
      a.close();
      device.trim();
      MemoryStatus after = device.memory();
      c.require(after.live() == before, "live after close: " + after.live());
      c.require(after.peak() >= before + 4_000_000, "peak forgot: " + after.peak());
      c.require(
          after.free() == -1 || after.free() > 0, "free: expected -1 or bytes: " + after.free());
    }
  }

  private static void limit(CaseContext c) {
    try (Device device = c.openAgain(o -> o.memoryLimit(4 * MIB))) {
      Tensor a = device.allocate(DataType.U8, 3 * MIB);
      DeviceOutOfMemoryException e =
          c.requireThrows(
              DeviceOutOfMemoryException.class,
              () -> device.allocate(DataType.F32, MIB).close(),
              "f32[" + MIB + "]",
              Long.toString(4 * MIB));
      c.require(e.needed() == 4 * MIB, "needed: " + e.needed());
      c.require(e.limit() == 4 * MIB, "limit: " + e.limit());
      c.require(e.free() == MIB, "free: " + e.free());
      c.require(device.memory().limit() == 4 * MIB, "memory().limit: " + device.memory());
      a.close();
      HostTensor host = TransferCases.bits(c.draw("x"), DataType.U8, 2 * MIB);
      try (Tensor b = device.upload(host)) { // the device is still good
        TransferCases.same(c, "after running out of memory", b.download(), host);
      }
    }
  }

  private static void limitReleases(CaseContext c) {
    try (Device device = c.openAgain(o -> o.memoryLimit(4 * MIB))) {
      dev.weft.Stream stream = device.newStream();
      for (int i = 0; i < 50; i++) {
        // Closed in flight: the next allocation waits for it, and only then gives up.
        try (Tensor a = device.allocate(DataType.U8, 3 * MIB)) {
          stream.fill(a, (byte) i);
        }
      }
      stream.synchronize();
      c.require(device.memory().peak() <= 4 * MIB, "peak: " + device.memory().peak());
    }
  }

  private static void exhausted(CaseContext c) {
    Device device = c.tested().device();
    DeviceOutOfMemoryException e =
        c.requireThrows(
            DeviceOutOfMemoryException.class,
            () -> device.allocate(DataType.U8, 1L << 50).close(),
            "u8[" + (1L << 50) + "]");
    c.require(e.needed() == 1L << 50, "needed: " + e.needed());
    c.require(!device.isLost(), "the device is lost after an allocation that was too large");
    HostTensor host = TransferCases.bits(c.draw("x"), DataType.U8, 1000);
    Tensor a = c.keep(device.upload(host));
    TransferCases.same(c, "after running out of memory", a.download(), host);
  }

  private static void trim(CaseContext c) {
    try (Device device = c.openAgain(o -> {})) {
      Tensor[] tensors = new Tensor[16];
      for (int i = 0; i < tensors.length; i++) {
        tensors[i] = device.allocate(DataType.U8, MIB + i);
      }
      for (Tensor tensor : tensors) {
        tensor.close();
      }
      device.trim();
      MemoryStatus status = device.memory();
      c.require(status.live() == 0, "live after trim: " + status.live());
      c.require(status.pooled() < 16 * MIB, "pooled after trim: " + status.pooled());
    }
  }

  private static void openObjects(CaseContext c) {
    try (Device device = c.openAgain(o -> {})) {
      Tensor leaked = device.allocate(DataType.F32, 3, 5);
      c.require(
          device.openObjects().toString().contains("f32[3, 5]"),
          "openObjects does not name an open tensor: " + device.openObjects());
      leaked.close();
      c.require(device.openObjects().isEmpty(), "openObjects: " + device.openObjects());
    }
  }

  private static void closedInUse(CaseContext c) {
    Device device = c.tested().device();
    HostTensor want = HostTensor.allocate(DataType.U8, MIB);
    want.segment().fill((byte) 0x2a);
    Tensor last = c.keep(device.allocate(DataType.U8, MIB));
    for (int round = 0; round < 10; round++) {
      try (Tensor a = device.allocate(DataType.U8, MIB);
          Tensor b = device.allocate(DataType.U8, MIB)) {
        c.stream().fill(a, (byte) 0x2a);
        c.stream().copy(a, b);
        c.stream().copy(b, last);
      }
      // What was just closed must not be handed out while the copies may still read it.
      try (Tensor other = device.allocate(DataType.U8, MIB);
          dev.weft.Stream stream = device.newStream()) {
        stream.fill(other, (byte) 0x66);
      }
      HostTensor back = HostTensor.allocate(DataType.U8, MIB);
      c.stream().download(last, back);
      c.stream().zero(last);
      c.stream().synchronize();
      TransferCases.same(c, "memory closed while in use, round " + round, back, want);
    }
  }
}
