package dev.weft.conformance.device;

import static java.util.Objects.requireNonNull;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Kernel;
import dev.weft.Limits;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.device.Workload.Launchable;
import dev.weft.conformance.device.Workload.Sample;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;

/** What holds for launches whatever they compute. */
final class LaunchCases {
  private static final String OPERATION = "device.launches";

  private LaunchCases() {}

  static java.util.stream.Stream<ConformanceCase> cases() {
    List<ConformanceCase> cases = new ArrayList<>();
    for (Workload<?> w : Workload.all()) {
      cases.add(of(w, "ordered-with-transfers", c -> orderedWithTransfers(c, w)));
      cases.add(of(w, "one-kernel-two-streams", c -> twoStreams(c, w)));
      cases.add(of(w, "close-right-after-launch", c -> closeAfterLaunch(c, w)));
      cases.add(of(w, "repeats-under-load", c -> repeatsUnderLoad(c, w)));
      cases.add(of(w, "threads-share-a-kernel", c -> threadsShare(c, w)));
      cases.add(of(w, "prepare-from-threads", c -> prepareFromThreads(c, w)));
      cases.add(of(w, "lent-workspace", c -> lentWorkspace(c, w)));
      cases.add(of(w, "workspace-grows-with-limits", c -> workspaceGrows(c, w)));
      cases.add(of(w, "no-sequences", c -> nothingToDo(c, w)));
      cases.add(of(w, "weights-refreshed", c -> refreshed(c, w)));
      cases.add(of(w, "beside-another-device", c -> besideAnotherDevice(c, w)));
    }
    return cases.stream();
  }

  private static ConformanceCase of(Workload<?> w, String feature, ConformanceCase.Body body) {
    return ConformanceCase.of(OPERATION, DataType.F32, w.name(), feature, Family.RANDOM)
        .spec(w.spec())
        .runs(body);
  }

  /** Upload, launch, download, overwrite the input: all enqueued at once. */
  private static <K extends Kernel<?>> void orderedWithTransfers(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 40, 90);
    Launchable launch = sample.launchable(c.tested().prepare(w.spec()));
    Tensor input = c.tested().of(sample.input());
    HostTensor values = c.read(sample.input());
    c.launchOnce(stream -> {
      for (int i = 0; i < 3; i++) {
        stream.zero(input);
        launch.on(stream);
      }
      stream.upload(values, input);
      launch.on(stream);
    });
    sample.check();
  }

  private static <K extends Kernel<?>> void twoStreams(CaseContext c, Workload<K> w) {
    Sample<K> a = w.sample(c, "a.", 120, 3, 77);
    Sample<K> b = w.sample(c, "b.", 5);
    K kernel = c.tested().prepare(w.spec());
    Launchable launchA = a.launchable(kernel);
    Launchable launchB = b.launchable(kernel);
    Stream other = c.keep(c.tested().device().newStream());
    c.launchOnce(stream -> {
      for (int i = 0; i < 10; i++) {
        launchA.on(stream);
        launchB.on(other);
        launchB.on(other);
      }
      other.synchronize();
    });
    a.check();
    b.check();
  }

  private static <K extends Kernel<?>> void closeAfterLaunch(CaseContext c, Workload<K> w) {
    Device device = c.tested().device();
    Sample<K> sample = w.sample(c, "", 40, 90);
    c.launchOnce(stream -> {
      Map<Operand, Tensor> inputs = new HashMap<>();
      for (Operand operand : sample.operands()) {
        if (!sample.outputs().contains(operand)) {
          inputs.put(operand, device.upload(c.read(operand)));
        }
      }
      K kernel = device.prepare(w.spec());
      Launchable launch =
          sample.launchable(kernel, o -> inputs.containsKey(o) ? inputs.get(o) : c.tested().of(o));
      launch.on(stream);
      launch.close();
      kernel.close();
      inputs.values().forEach(Tensor::close);
      // Whoever frees too early hands the same memory out here.
      for (Operand operand : sample.operands()) {
        try (Tensor other = device.allocate(operand.dataType(), operand.shape());
            Stream elsewhere = device.newStream()) {
          elsewhere.fill(other, (byte) 0x5a);
        }
      }
    });
    sample.check();
  }

  /** Two devices at work at once; of the second one's tensors only copies come and go. */
  private static <K extends Kernel<?>> void besideAnotherDevice(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 40, 90);
    Launchable here = sample.launchable(c.tested().prepare(w.spec()));
    try (Device other = c.openAnother()) {
      Stream away = other.defaultStream();
      Map<Operand, Tensor> tensors = new HashMap<>();
      for (Operand operand : sample.operands()) {
        Tensor tensor = other.allocate(operand.dataType(), operand.shape());
        away.copy(c.tested().of(operand), tensor);
        tensors.put(operand, tensor);
      }
      // The next of several devices may be of another kind, and is asked as anyone would ask it.
      if (other.supports(w.spec()).isSupported()) {
        Launchable there =
            c.keep(sample.launchable(other.prepare(w.spec()), o -> requireNonNull(tensors.get(o))));
        c.launchOnce(stream -> {
          for (int i = 0; i < 5; i++) {
            here.on(stream);
            there.on(away);
          }
          away.synchronize();
        });
        sample.check();
        c.launchOnce(stream -> {
          for (Operand output : sample.outputs()) {
            stream.fill(c.tested().of(output), (byte) 0x5a);
            stream.copy(requireNonNull(tensors.get(output)), c.tested().of(output));
          }
        });
      } else {
        c.launchOnce(here::on);
      }
      sample.check();
    }
  }

  private static <K extends Kernel<?>> void repeatsUnderLoad(CaseContext c, Workload<K> w)
      throws InterruptedException {
    Device device = c.tested().device();
    Sample<K> sample = w.sample(c, "", 40, 90);
    Sample<K> noise = w.sample(c, "noise.", 150);
    K kernel = c.tested().prepare(w.spec());
    Launchable launch = sample.launchable(kernel);
    Launchable noiseLaunch = noise.launchable(kernel);
    AtomicBoolean stop = new AtomicBoolean();
    List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
    Stream busy = c.keep(device.newStream());
    Thread load =
        Thread.ofPlatform()
            .daemon()
            .start(() -> {
              try {
                do { // once at least, however late this thread gets a core
                  noiseLaunch.on(busy);
                  busy.synchronize();
                } while (!stop.get());
              } catch (Throwable t) {
                failures.add(t);
              }
            });
    Map<Operand, HostTensor> first = new HashMap<>();
    try {
      for (int round = 0; round < 20; round++) {
        launch.on(c.stream());
        for (Operand output : sample.outputs()) {
          HostTensor now = HostTensor.allocate(output.dataType(), output.shape());
          c.stream().download(c.tested().of(output), now);
          c.stream().synchronize();
          HostTensor before = first.putIfAbsent(output, now);
          if (before != null) {
            TransferCases.same(
                c, output.name() + " of repeat " + round + " under load", now, before);
          }
        }
      }
    } finally {
      stop.set(true);
      load.join();
    }
    c.require(failures.isEmpty(), "the load beside failed: " + failures);
    c.launchOnce(launch::on);
    sample.check();
    noise.check();
  }

  private static <K extends Kernel<?>> void threadsShare(CaseContext c, Workload<K> w)
      throws InterruptedException {
    K kernel = c.tested().prepare(w.spec());
    List<Sample<K>> samples = new ArrayList<>();
    List<Thread> threads = new ArrayList<>();
    List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
    for (int t = 0; t < 4; t++) {
      Sample<K> sample = w.sample(c, "thread" + t + ".", 7 + 5 * t, 20);
      Launchable launch = sample.launchable(kernel);
      samples.add(sample);
      threads.add(
          Thread.ofVirtual()
              .unstarted(() -> {
                try {
                  for (int i = 0; i < 10; i++) {
                    launch.on(c.stream());
                  }
                } catch (Throwable e) {
                  failures.add(e);
                }
              }));
    }
    c.launchOnce(stream -> {
      threads.forEach(Thread::start);
      threads.forEach(LaunchCases::join);
    });
    c.require(failures.isEmpty(), "threads that share a kernel failed: " + failures);
    samples.forEach(Sample::check);
  }

  private static <K extends Kernel<?>> void prepareFromThreads(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 7, 20);
    List<K> kernels = Collections.synchronizedList(new ArrayList<>());
    List<RuntimeException> failures = Collections.synchronizedList(new ArrayList<>());
    List<Thread> threads = new ArrayList<>();
    for (int t = 0; t < 4; t++) {
      threads.add(
          Thread.ofVirtual()
              .start(() -> {
                try {
                  kernels.add(c.keep(c.tested().device().prepare(w.spec())));
                } catch (RuntimeException e) {
                  failures.add(e);
                }
              }));
    }
    threads.forEach(LaunchCases::join);
    if (!failures.isEmpty()) {
      throw failures.getFirst();
    }
    for (K kernel : kernels) {
      c.launchOnce(sample.launchable(kernel)::on);
      sample.check();
    }
  }

  private static void join(Thread thread) {
    try {
      thread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  private static <K extends Kernel<?>> void lentWorkspace(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 40, 90);
    K kernel = c.tested().prepare(w.spec());
    Launchable launch = sample.launchable(kernel);
    long bytes = kernel.workspaceBytes(sample.limits);
    Device device = c.tested().device();
    if (bytes > 256) {
      Tensor small = c.keep(device.allocate(DataType.U8, 256));
      c.stream().lend(small);
      c.requireThrows(
          IllegalStateException.class,
          () -> launch.on(c.stream()),
          Long.toString(bytes),
          "lent",
          "256");
    }
    // The loan has a guard band of its own, so that use beyond the bytes asked for shows.
    long rounded = (bytes + 255) / 256 * 256;
    HostTensor pattern = TransferCases.bits(c.draw("pattern"), DataType.U8, rounded + 4096);
    Tensor loan = c.keep(device.upload(pattern));
    c.stream().lend(loan.slice(0, 0, Math.max(256, rounded)));
    long grown = device.memory().peak();
    c.launchOnce(launch::on);
    sample.check();
    c.require(
        device.memory().peak() == grown, "a launch allocated although scratch was lent to it");
    c.stream().lend(null);
    MemorySegment after = loan.download().segment();
    long behind = Math.max(256, rounded);
    long at = after.asSlice(behind).mismatch(pattern.segment().asSlice(behind));
    c.require(at < 0, "wrote " + at + " bytes behind the end of the lent scratch");
  }

  private static <K extends Kernel<?>> void workspaceGrows(CaseContext c, Workload<K> w) {
    K kernel = c.tested().prepare(w.spec());
    long last = 0;
    for (int tokens : new int[] {0, 1, 2, 17, 100, 1000, 4096, 100_000}) {
      for (int sequences : new int[] {0, 1, 8}) {
        long bytes = kernel.workspaceBytes(Limits.of(tokens, sequences));
        c.require(bytes >= 0, "workspaceBytes(" + tokens + ", " + sequences + ") = " + bytes);
        c.require(
            bytes == kernel.workspaceBytes(Limits.of(tokens, sequences)),
            "workspaceBytes is not pure");
        if (sequences == 8) {
          c.require(
              bytes >= last,
              "workspaceBytes falls from " + last + " to " + bytes + " at " + tokens + " tokens");
          last = bytes;
        }
      }
    }
  }

  /** Sequences without a token, and none at all: padding rows stay as they are. */
  private static <K extends Kernel<?>> void nothingToDo(CaseContext c, Workload<K> w) {
    K kernel = c.tested().prepare(w.spec());
    Sample<K> empty = w.sample(c, "empty.", 0, 0, 0);
    Sample<K> none = w.sample(c, "none.");
    c.launchOnce(empty.launchable(kernel)::on);
    empty.check();
    c.launchOnce(none.launchable(kernel)::on);
    none.check();
  }

  /** Weights are overwritten, the binding refreshed: results follow, whether packed or not. */
  private static <K extends Kernel<?>> void refreshed(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 7, 20);
    Launchable launch = sample.launchable(c.tested().prepare(w.spec()));
    c.launchOnce(launch::on);
    sample.check();
    Operand weight = sample.operands().getFirst();
    HostTensor values = HostTensor.allocate(weight.dataType(), weight.shape());
    c.testCase().family().draws().fill(values, c.draw("other weights"));
    c.overwrite(weight, values);
    if (launch.binding() != null) {
      launch.binding().refresh(c.stream());
    }
    c.launchOnce(launch::on);
    sample.check();
  }
}
