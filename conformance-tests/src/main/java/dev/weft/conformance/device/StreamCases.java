package dev.weft.conformance.device;

import static dev.weft.conformance.device.DeviceCatalogue.deviceCase;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Event;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ThreadFactory;

/** Order within a stream, independence of streams, events. */
final class StreamCases {
  private static final String OPERATION = "device.streams";
  // Large enough that work which runs out of order is seen to.
  private static final int ELEMENTS = 200_000;

  private StreamCases() {}

  static java.util.stream.Stream<ConformanceCase> cases() {
    return java.util.stream.Stream.of(
        deviceCase(OPERATION, "in-order", StreamCases::inOrder),
        deviceCase(OPERATION, "independent", StreamCases::independent),
        deviceCase(OPERATION, "events-order-streams", StreamCases::eventsOrder),
        deviceCase(OPERATION, "events-complete-and-measure", StreamCases::eventsMeasure),
        deviceCase(OPERATION, "event-wait-covers-earlier-work", StreamCases::eventWait),
        deviceCase(
            OPERATION, "many-threads", c -> threads(c, Thread.ofPlatform().daemon().factory())),
        deviceCase(OPERATION, "virtual-threads", c -> threads(c, Thread.ofVirtual().factory())),
        deviceCase(OPERATION, "close-drains", StreamCases::closeDrains),
        deviceCase(OPERATION, "default-stream", StreamCases::defaultStream),
        deviceCase(OPERATION, "synchronous-option", StreamCases::synchronous));
  }

  private static Tensor ints(CaseContext c) {
    return c.keep(c.tested().device().allocate(DataType.I32, ELEMENTS));
  }

  private static HostTensor filled(int value) {
    HostTensor host = HostTensor.allocate(DataType.I32, ELEMENTS);
    host.segment().fill((byte) value);
    return host;
  }

  /** Each step reads what the one before wrote, and nothing waits until the end. */
  private static void chain(Stream stream, Tensor a, Tensor b, int steps, int last) {
    for (int i = 0; i < steps; i++) {
      stream.fill(a, (byte) i);
      stream.copy(a, b);
      stream.fill(a, (byte) 0x7f);
    }
    stream.fill(a, (byte) last);
    stream.copy(a, b);
    stream.zero(a);
  }

  private static void inOrder(CaseContext c) {
    Tensor a = ints(c);
    Tensor b = ints(c);
    chain(c.stream(), a, b, 20, 0x41);
    HostTensor back = HostTensor.allocate(DataType.I32, ELEMENTS);
    c.stream().download(b, back);
    c.stream().zero(b);
    c.stream().synchronize();
    TransferCases.same(c, "a stream's work in order", back, filled(0x41));
  }

  private static void independent(CaseContext c) {
    Device device = c.tested().device();
    List<Stream> streams = new ArrayList<>();
    List<HostTensor> results = new ArrayList<>();
    for (int s = 0; s < 4; s++) {
      Stream stream = c.keep(device.newStream());
      streams.add(stream);
      Tensor b = ints(c);
      chain(stream, ints(c), b, 5 + 5 * s, 0x50 + s);
      HostTensor back = HostTensor.allocate(DataType.I32, ELEMENTS);
      stream.download(b, back);
      results.add(back);
    }
    for (int s = 3; s >= 0; s--) {
      streams.get(s).synchronize();
      TransferCases.same(c, "stream " + s + " of 4", results.get(s), filled(0x50 + s));
    }
  }

  private static void eventsOrder(CaseContext c) {
    Device device = c.tested().device();
    Stream first = c.keep(device.newStream());
    Stream second = c.keep(device.newStream());
    Tensor shared = ints(c);
    Tensor taken = ints(c);
    HostTensor back = HostTensor.allocate(DataType.I32, ELEMENTS);
    for (int round = 1; round <= 20; round++) {
      first.fill(shared, (byte) -round);
      first.fill(shared, (byte) round);
      try (Event written = first.record()) {
        second.await(written);
        second.copy(shared, taken);
        try (Event read = second.record()) {
          first.await(read);
          first.zero(shared);
        }
      }
      second.download(taken, back);
      second.synchronize();
      TransferCases.same(c, "round " + round + " between two streams", back, filled(round));
    }
    first.synchronize();
  }

  private static void eventsMeasure(CaseContext c) {
    Tensor a = ints(c);
    try (Event start = c.stream().record()) {
      for (int i = 0; i < 10; i++) {
        c.stream().fill(a, (byte) i);
      }
      try (Event end = c.stream().record()) {
        end.synchronize();
        c.require(end.isComplete() && start.isComplete(), "an event is waited for, yet incomplete");
        double nanos = end.nanosSince(start);
        c.require(nanos > 0 && nanos < 60e9, "ten fills took " + nanos + " ns");
        c.require(start.nanosSince(start) == 0, "an event lies apart from itself");
      }
    }
    c.stream().synchronize();
  }

  private static void eventWait(CaseContext c) {
    Tensor a = ints(c);
    HostTensor back = HostTensor.allocate(DataType.I32, ELEMENTS);
    c.stream().fill(a, (byte) 0x21);
    c.stream().download(a, back);
    try (Event done = c.stream().record()) {
      done.synchronize();
      TransferCases.same(c, "what an event covers", back, filled(0x21));
    }
    c.stream().synchronize();
  }

  private static void threads(CaseContext c, ThreadFactory factory) throws InterruptedException {
    Stream stream = c.stream();
    List<Thread> threads = new ArrayList<>();
    List<HostTensor> results = new ArrayList<>();
    List<Throwable> failures = java.util.Collections.synchronizedList(new ArrayList<>());
    for (int t = 0; t < 4; t++) {
      Tensor a = ints(c);
      Tensor b = ints(c);
      HostTensor back = HostTensor.allocate(DataType.I32, ELEMENTS);
      results.add(back);
      int last = 0x30 + t;
      threads.add(
          factory.newThread(() -> {
            try {
              chain(stream, a, b, 10, last);
              stream.download(b, back);
            } catch (Throwable e) {
              failures.add(e);
            }
          }));
    }
    threads.forEach(Thread::start);
    for (Thread thread : threads) {
      thread.join();
    }
    stream.synchronize();
    c.require(failures.isEmpty(), "threads that share a stream failed: " + failures);
    for (int t = 0; t < 4; t++) {
      TransferCases.same(c, "thread " + t, results.get(t), filled(0x30 + t));
    }
  }

  private static void closeDrains(CaseContext c) {
    Tensor a = ints(c);
    HostTensor back = HostTensor.allocate(DataType.I32, ELEMENTS);
    try (Stream stream = c.tested().device().newStream()) {
      stream.fill(a, (byte) 0x12);
      stream.download(a, back);
    }
    TransferCases.same(c, "work before a stream's close", back, filled(0x12));
  }

  private static void defaultStream(CaseContext c) {
    Device device = c.tested().device();
    Stream first = device.defaultStream();
    c.require(first == device.defaultStream(), "two default streams");
    first.close(); // it is the device's own: this does nothing
    Tensor a = c.keep(device.upload(filled(0x19)));
    TransferCases.same(c, "the default stream", a.download(), filled(0x19));
  }

  private static void synchronous(CaseContext c) {
    try (Device device = c.openAgain(o -> o.synchronous(true));
        Tensor a = device.allocate(DataType.I32, ELEMENTS);
        Tensor b = device.allocate(DataType.I32, ELEMENTS);
        Stream stream = device.newStream()) {
      chain(stream, a, b, 3, 0x22);
      HostTensor back = HostTensor.allocate(DataType.I32, ELEMENTS);
      stream.download(b, back);
      TransferCases.same(c, "a synchronous device's download", back, filled(0x22));
    }
  }
}
