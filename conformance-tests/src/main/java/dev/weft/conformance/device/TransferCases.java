package dev.weft.conformance.device;

import static dev.weft.conformance.device.DeviceCatalogue.deviceCase;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostBuffer;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Draw;
import dev.weft.conformance.Family;
import dev.weft.conformance.Profile;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/** Copies between host and device and within the device, of every type, layout and size. */
final class TransferCases {
  private static final String OPERATION = "device.transfer";

  private TransferCases() {}

  static java.util.stream.Stream<ConformanceCase> cases() {
    List<ConformanceCase> cases = new ArrayList<>();
    for (DataType type : DataType.values()) {
      cases.add(
          ConformanceCase.of(OPERATION, type, "", "every-bit-pattern", Family.ADVERSARIAL)
              .runs(c -> roundTrips(c, type)));
    }
    cases.add(deviceCase(OPERATION, "native-memory", TransferCases::nativeMemory));
    cases.add(deviceCase(OPERATION, "pinned-memory", TransferCases::pinnedMemory));
    cases.add(deviceCase(OPERATION, "wrapped-memory", TransferCases::wrappedMemory));
    cases.add(deviceCase(OPERATION, "strided-upload", TransferCases::stridedUpload));
    cases.add(deviceCase(OPERATION, "strided-download", TransferCases::stridedDownload));
    cases.add(deviceCase(OPERATION, "strided-copy", TransferCases::stridedCopy));
    cases.add(deviceCase(OPERATION, "strided-fill", TransferCases::stridedFill));
    cases.add(deviceCase(OPERATION, "zero-sized", TransferCases::zeroSized));
    cases.add(deviceCase(OPERATION, "odd-megabytes", TransferCases::oddMegabytes));
    cases.add(deviceCase(OPERATION, "between-devices", TransferCases::betweenDevices));
    cases.add(deviceCase(OPERATION, "heap-reused-at-once", TransferCases::heapReused));
    cases.add(
        ConformanceCase.of(OPERATION, DataType.U8, "", "beyond-2e31-elements", Family.RANDOM)
            .profiles(Profile.LARGE)
            .runs(TransferCases::beyondInts));
    return cases.stream();
  }

  /** Random bits: NaN payloads, subnormals and negative zeros travel unchanged. */
  static HostTensor bits(Draw draw, DataType type, long... shape) {
    HostTensor tensor = HostTensor.allocate(type, shape);
    MemorySegment segment = tensor.segment();
    for (long i = 0; i < segment.byteSize(); i++) {
      segment.set(ValueLayout.JAVA_BYTE, i, (byte) draw.bits(i));
    }
    return tensor;
  }

  static void same(CaseContext c, String what, HostTensor got, HostTensor want) {
    long at = got.segment().mismatch(want.segment());
    c.require(
        at < 0,
        () ->
            what
                + ": byte "
                + at
                + " of "
                + want
                + " is "
                + got.segment().get(ValueLayout.JAVA_BYTE, at)
                + " instead of "
                + want.segment().get(ValueLayout.JAVA_BYTE, at));
  }

  private static void roundTrips(CaseContext c, DataType type) {
    for (int n : new int[] {1, 7, 1000, 65_537}) {
      HostTensor host = bits(c.draw("n" + n), type, n);
      Tensor tensor = c.keep(c.tested().device().upload(host));
      same(c, "upload and download", tensor.download(), host);
      Tensor copy = c.keep(c.tested().device().allocate(type, n));
      c.stream().copy(tensor, copy);
      HostTensor back = HostTensor.allocate(type, n);
      c.stream().download(copy, back);
      c.stream().synchronize();
      same(c, "copy", back, host);
    }
  }

  private static void nativeMemory(CaseContext c) {
    try (Arena arena = Arena.ofShared()) {
      HostTensor from = HostTensor.allocate(arena, DataType.F32, 1000);
      HostTensor want = bits(c.draw("x"), DataType.F32, 1000);
      from.segment().copyFrom(want.segment());
      Tensor tensor = c.keep(c.tested().device().allocate(DataType.F32, 1000));
      HostTensor back = HostTensor.allocate(arena, DataType.F32, 1000);
      c.stream().upload(from, tensor);
      c.stream().download(tensor, back);
      c.stream().synchronize();
      same(c, "native memory", back, want);
    }
    try (Arena arena = Arena.ofConfined()) { // only this thread may touch it
      HostTensor from = HostTensor.allocate(arena, DataType.F32, 100);
      HostTensor want = bits(c.draw("y"), DataType.F32, 100);
      from.segment().copyFrom(want.segment());
      Tensor tensor = c.keep(c.tested().device().allocate(DataType.F32, 100));
      HostTensor back = HostTensor.allocate(arena, DataType.F32, 100);
      c.stream().upload(from, tensor);
      c.stream().download(tensor, back);
      c.stream().synchronize();
      same(c, "confined native memory", back, want);
    }
  }

  private static void pinnedMemory(CaseContext c) {
    Device device = c.tested().device();
    try (HostBuffer buffer = device.allocateHost(4000)) {
      MemorySegment segment = buffer.segment().asSlice(0, 4000);
      HostTensor want = bits(c.draw("x"), DataType.F32, 1000);
      segment.copyFrom(want.segment());
      Tensor tensor = c.keep(device.allocate(DataType.F32, 1000));
      c.stream().upload(HostTensor.of(DataType.F32, segment, 1000), tensor);
      c.stream().synchronize();
      segment.fill((byte) 0);
      c.stream().download(tensor, HostTensor.of(DataType.F32, segment, 1000));
      c.stream().synchronize();
      same(c, "pinned memory", HostTensor.of(DataType.F32, segment, 1000), want);
    }
  }

  private static void wrappedMemory(CaseContext c) {
    Device device = c.tested().device();
    try (Arena arena = Arena.ofShared()) {
      HostTensor host = HostTensor.allocate(arena, DataType.F32, 256);
      host.segment().copyFrom(bits(c.draw("x"), DataType.F32, 256).segment());
      Tensor tensor;
      try {
        tensor = device.wrap(host.segment(), DataType.F32, 256);
      } catch (IllegalArgumentException e) {
        c.require(
            String.valueOf(e.getMessage()).contains(device.info().selector()),
            "wrap refuses without naming the device: " + e.getMessage());
        return;
      }
      try (tensor) {
        same(c, "wrapped memory", tensor.download(), host);
        device.defaultStream().fill(tensor, (byte) 0x3c);
        device.defaultStream().synchronize();
        for (int i = 0; i < 256; i++) {
          c.require(
              host.segment().get(ValueLayout.JAVA_BYTE, 4L * i) == 0x3c,
              "wrapped memory: a write on the device did not reach the host's memory");
        }
      }
    }
  }

  /** A tensor of 5 x 6 x 7 within one of 5 x 8 x 10 that holds a known byte. */
  private static Tensor holder(CaseContext c, DataType type) {
    Tensor outer = c.keep(c.tested().device().allocate(type, 5, 8, 10));
    c.stream().fill(outer, (byte) 0x77);
    return outer;
  }

  private static Tensor inner(Tensor outer) {
    return outer.slice(1, 1, 7).slice(2, 2, 9);
  }

  private static void onlyInnerChanged(CaseContext c, Tensor outer, HostTensor want) {
    HostTensor all = HostTensor.allocate(outer.dataType(), outer.shape());
    c.stream().download(outer, all);
    c.stream().synchronize();
    int size = outer.dataType().bytes();
    for (int i = 0; i < 5; i++) {
      for (int j = 0; j < 8; j++) {
        for (int k = 0; k < 10; k++) {
          boolean in = j >= 1 && j < 7 && k >= 2 && k < 9;
          for (int b = 0; b < size; b++) {
            long at = ((i * 8L + j) * 10 + k) * size + b;
            byte expected =
                in
                    ? want.segment()
                        .get(ValueLayout.JAVA_BYTE, ((i * 6L + (j - 1)) * 7 + (k - 2)) * size + b)
                    : 0x77;
            c.require(
                all.segment().get(ValueLayout.JAVA_BYTE, at) == expected,
                "wrong byte at ["
                    + i
                    + ", "
                    + j
                    + ", "
                    + k
                    + "], which is "
                    + (in ? "in" : "out")
                    + "side the strided tensor");
          }
        }
      }
    }
  }

  private static void stridedUpload(CaseContext c) {
    for (DataType type : new DataType[] {DataType.F32, DataType.BF16, DataType.U8}) {
      Tensor outer = holder(c, type);
      HostTensor host = bits(c.draw(type.text()), type, 5, 6, 7);
      c.stream().upload(host, inner(outer));
      onlyInnerChanged(c, outer, host);
    }
  }

  private static void stridedDownload(CaseContext c) {
    HostTensor host = bits(c.draw("x"), DataType.BF16, 5, 8, 10);
    Tensor outer = c.keep(c.tested().device().upload(host));
    Tensor inner = inner(outer).transpose(0, 1);
    HostTensor back = HostTensor.allocate(DataType.BF16, inner.shape());
    c.stream().download(inner, back);
    c.stream().synchronize();
    for (int j = 0; j < 6; j++) {
      for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 7; k++) {
          short got =
              back.segment().get(ValueLayout.JAVA_SHORT_UNALIGNED, ((j * 5L + i) * 7 + k) * 2);
          short want =
              host.segment()
                  .get(ValueLayout.JAVA_SHORT_UNALIGNED, ((i * 8L + j + 1) * 10 + k + 2) * 2);
          c.require(got == want, "wrong element at [" + j + ", " + i + ", " + k + "]");
        }
      }
    }
  }

  private static void stridedCopy(CaseContext c) {
    HostTensor host = bits(c.draw("x"), DataType.F16, 5, 6, 7);
    Tensor dense = c.keep(c.tested().device().upload(host));
    Tensor first = holder(c, DataType.F16);
    Tensor second = holder(c, DataType.F16);
    c.stream().copy(dense, inner(first));
    c.stream().copy(inner(first), inner(second));
    onlyInnerChanged(c, first, host);
    onlyInnerChanged(c, second, host);
  }

  private static void stridedFill(CaseContext c) {
    Tensor outer = holder(c, DataType.I32);
    c.stream().fill(inner(outer), (byte) 0x11);
    HostTensor want = HostTensor.allocate(DataType.I32, 5, 6, 7);
    want.segment().fill((byte) 0x11);
    onlyInnerChanged(c, outer, want);
    c.stream().zero(inner(outer));
    onlyInnerChanged(c, outer, HostTensor.allocate(DataType.I32, 5, 6, 7));
  }

  private static void zeroSized(CaseContext c) {
    Device device = c.tested().device();
    for (long[] shape : new long[][] {{0}, {0, 5}, {3, 0}, {2, 0, 4}}) {
      Tensor a = c.keep(device.allocate(DataType.F32, shape));
      Tensor b = c.keep(device.upload(HostTensor.allocate(DataType.F32, shape)));
      c.stream().copy(a, b);
      c.stream().zero(b);
      c.stream().download(b, HostTensor.allocate(DataType.F32, shape));
      c.stream().synchronize();
      c.require(b.download().elements() == 0, "a tensor without elements downloaded some");
    }
  }

  private static void oddMegabytes(CaseContext c) {
    int n = (5 << 20) + 13;
    HostTensor host = bits(c.draw("x"), DataType.U8, n);
    Tensor tensor = c.keep(c.tested().device().upload(host));
    same(c, "5 MiB and 13 bytes", tensor.download(), host);
    HostTensor tail = HostTensor.allocate(DataType.U8, n - 7);
    c.stream().download(tensor.slice(0, 7, n), tail);
    c.stream().synchronize();
    same(c, "all but 7 bytes", tail, HostTensor.of(DataType.U8, host.segment().asSlice(7), n - 7));
  }

  private static void beyondInts(CaseContext c) {
    long n = (1L << 31) + 5000;
    Tensor tensor = c.keep(c.tested().device().allocate(DataType.U8, n));
    c.stream().fill(tensor, (byte) 0x11);
    HostTensor tail = bits(c.draw("x"), DataType.U8, 4000);
    c.stream().upload(tail, tensor.slice(0, n - 4000, n));
    Tensor copy = c.keep(c.tested().device().allocate(DataType.U8, n));
    c.stream().copy(tensor, copy);
    HostTensor end = HostTensor.allocate(DataType.U8, 5000);
    c.stream().download(copy.slice(0, n - 5000, n), end);
    HostTensor start = HostTensor.allocate(DataType.U8, 5000);
    c.stream().download(copy.slice(0, 0, 5000), start);
    c.stream().synchronize();
    HostTensor want = HostTensor.allocate(DataType.U8, 5000);
    want.segment().fill((byte) 0x11);
    same(c, "the first 5000 of more than 2^31", start, want);
    want.segment().asSlice(1000).copyFrom(tail.segment());
    same(c, "the last 5000 of more than 2^31", end, want);
  }

  private static void betweenDevices(CaseContext c) {
    HostTensor host = bits(c.draw("x"), DataType.F32, 6, 7);
    Tensor here = c.keep(c.tested().device().upload(host));
    try (Device other = c.openAnother();
        Tensor there = other.allocate(DataType.F32, 6, 7);
        Stream stream = other.newStream()) {
      stream.copy(here, there);
      same(c, "copy to another device", there.download(), host);
    }
  }

  private static void heapReused(CaseContext c) {
    HostTensor host = HostTensor.allocate(DataType.I32, 1000);
    List<Tensor> tensors = new ArrayList<>();
    for (int i = 0; i < 20; i++) {
      Tensor tensor = c.keep(c.tested().device().allocate(DataType.I32, 1000));
      host.segment().fill((byte) i);
      c.stream().upload(host, tensor);
      tensors.add(tensor);
    }
    for (int i = 0; i < 20; i++) {
      HostTensor back = HostTensor.allocate(DataType.I32, 1000);
      c.stream().download(tensors.get(i), back);
      c.stream().synchronize();
      host.segment().fill((byte) i);
      same(c, "heap memory reused after upload " + i, back, host);
    }
  }
}
