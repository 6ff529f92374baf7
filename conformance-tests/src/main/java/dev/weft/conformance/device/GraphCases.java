package dev.weft.conformance.device;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Graph;
import dev.weft.HostTensor;
import dev.weft.Kernel;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Profile;
import dev.weft.conformance.device.Workload.Launchable;
import dev.weft.conformance.device.Workload.Sample;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Capture and replay. On a device without graphs, only that it says so. */
final class GraphCases {
  private static final String OPERATION = "device.graphs";

  private GraphCases() {}

  static java.util.stream.Stream<ConformanceCase> cases() {
    List<ConformanceCase> cases = new ArrayList<>();
    cases.add(of("records-and-does-nothing", GraphCases::records));
    cases.add(of("replays-on-any-stream", GraphCases::anyStream));
    cases.add(of("keeps-its-tensors", GraphCases::keepsTensors));
    cases.add(of("body-that-throws", GraphCases::bodyThrows));
    cases.add(of("illegal-while-capturing", GraphCases::illegal));
    for (Workload<?> w : Workload.all()) {
      cases.add(of(w, "replay-with-other-values", c -> otherValues(c, w)));
      cases.add(of(w, "replay-with-other-lengths", c -> otherLengths(c, w)));
      cases.add(of(w, "replay-after-a-larger-launch", c -> largerLaunch(c, w)));
      cases.add(of(w, "replay-after-all-is-closed", c -> allClosed(c, w)));
      cases.add(of(w, "capture-needs-reserved-scratch", c -> reservedScratch(c, w)));
    }
    return cases.stream();
  }

  private static ConformanceCase of(String feature, ConformanceCase.Body body) {
    return ConformanceCase.of(OPERATION, DataType.F32, "", feature, Family.RANDOM)
        .profiles(Profile.GRAPHS)
        .runs(c -> onlyWithGraphs(c, body));
  }

  private static ConformanceCase of(Workload<?> w, String feature, ConformanceCase.Body body) {
    return ConformanceCase.of(OPERATION, DataType.F32, w.name(), feature, Family.RANDOM)
        .profiles(Profile.GRAPHS)
        .spec(w.spec())
        .runs(c -> onlyWithGraphs(c, body));
  }

  private static void onlyWithGraphs(CaseContext c, ConformanceCase.Body body) throws Exception {
    if (c.tested().device().info().graphs()) {
      body.run(c);
    } else {
      c.requireThrows(
          UnsupportedOperationException.class,
          () -> c.stream().capture(s -> {}).close(),
          c.tested().device().info().selector());
    }
  }

  private static void records(CaseContext c) {
    Device device = c.tested().device();
    Tensor a = c.keep(device.upload(HostTensor.ofInts(new int[] {1, 2, 3}, 3)));
    Tensor b = c.keep(device.upload(HostTensor.ofInts(new int[] {7, 8, 9}, 3)));
    Graph graph = c.keep(c.stream().capture(s -> s.copy(a, b)));
    c.stream().synchronize();
    c.require(b.download().toInts()[0] == 7, "a capture did what it should only record");
    graph.launch(c.stream());
    c.stream().synchronize();
    c.require(b.download().toInts()[2] == 3, "a replay did not do what was recorded");
    c.stream().upload(HostTensor.ofInts(new int[] {4, 5, 6}, 3), a);
    graph.launch(c.stream());
    c.stream().synchronize();
    c.require(b.download().toInts()[1] == 5, "a replay did not read the new values");
    try (Graph empty = c.stream().capture(s -> {})) {
      empty.launch(c.stream());
      c.stream().synchronize();
    }
  }

  private static void anyStream(CaseContext c) {
    Device device = c.tested().device();
    Tensor a = c.keep(device.upload(HostTensor.allocate(DataType.I32, 50_000)));
    Tensor b = c.keep(device.allocate(DataType.I32, 50_000));
    Graph graph =
        c.keep(
            c.stream()
                .capture(s -> {
                  s.copy(a, b);
                  s.fill(a, (byte) 0x33);
                }));
    Stream other = c.keep(device.newStream());
    for (int round = 0; round < 10; round++) {
      other.fill(a, (byte) round);
      graph.launch(other);
      HostTensor back = HostTensor.allocate(DataType.I32, 50_000);
      other.download(b, back);
      other.synchronize();
      HostTensor want = HostTensor.allocate(DataType.I32, 50_000);
      want.segment().fill((byte) round);
      TransferCases.same(c, "replay " + round + " on another stream", back, want);
    }
  }

  private static void keepsTensors(CaseContext c) {
    Device device = c.tested().device();
    Tensor out = c.keep(device.upload(HostTensor.allocate(DataType.U8, 1 << 20)));
    HostTensor host = HostTensor.allocate(DataType.U8, 1 << 20);
    host.segment().fill((byte) 0x44);
    Graph graph;
    try (Tensor a = device.upload(host)) {
      graph = c.keep(c.stream().capture(s -> s.copy(a, out)));
    }
    for (int i = 0; i < 4; i++) { // would reuse the memory, were it free
      try (Tensor other = device.allocate(DataType.U8, 1 << 20)) {
        c.stream().fill(other, (byte) 0x55);
      }
    }
    graph.launch(c.stream());
    c.stream().synchronize();
    TransferCases.same(c, "a replay after its tensor was closed", out.download(), host);
  }

  private static void bodyThrows(CaseContext c) {
    Tensor a = c.keep(c.tested().device().upload(HostTensor.ofInts(new int[] {5}, 1)));
    c.requireThrows(
        IllegalArgumentException.class,
        () ->
            c.stream()
                .capture(s -> {
                  s.zero(a);
                  throw new IllegalArgumentException("the body's own");
                })
                .close(),
        "the body's own");
    c.stream().synchronize(); // eager again
    c.require(a.download().toInts()[0] == 5, "an abandoned capture did something");
    c.stream().zero(a);
    c.stream().synchronize();
    c.require(a.download().toInts()[0] == 0, "the stream does nothing after a failed capture");
  }

  private static void illegal(CaseContext c) {
    Tensor a = c.keep(c.tested().device().upload(HostTensor.ofInts(new int[] {5}, 1)));
    Graph inner = c.keep(c.stream().capture(s -> s.zero(a)));
    for (Runnable call :
        List.<Runnable>of(
            () -> c.stream().synchronize(),
            () -> c.stream().record().close(),
            () -> inner.launch(c.stream()),
            () -> c.stream().capture(s -> {}).close())) {
      c.requireThrows(
          IllegalStateException.class, () -> c.stream().capture(s -> call.run()).close(), "captur");
    }
    c.requireThrows(
        IllegalStateException.class,
        () -> c.stream().capture(s -> s.download(a, HostTensor.allocate(DataType.I32, 1))).close(),
        "native");
    c.stream().zero(a);
    c.stream().synchronize();
  }

  private static <K extends Kernel<?>> void otherValues(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 11, 30);
    K kernel = c.tested().prepare(w.spec());
    Launchable launch = sample.launchable(kernel);
    c.stream().reserve(kernel.workspaceBytes(sample.limits));
    Graph graph = c.keep(c.stream().capture(launch::on));
    for (int round = 0; round < 3; round++) {
      c.launchOnce(graph::launch);
      sample.check();
      sample.redraw("round " + round);
    }
  }

  private static <K extends Kernel<?>> void otherLengths(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 11, 30);
    K kernel = c.tested().prepare(w.spec());
    Launchable launch = sample.launchable(kernel);
    c.stream().reserve(kernel.workspaceBytes(sample.limits));
    Graph graph = c.keep(c.stream().capture(launch::on));
    for (int[] lengths : new int[][] {{11, 30}, {30, 11}, {0, 17}, {9, 0}, {0, 0}, {20, 21}}) {
      c.overwrite(sample.lengths(), sample.lengthValues(lengths));
      c.launchOnce(graph::launch);
      sample.check();
    }
  }

  private static <K extends Kernel<?>> void largerLaunch(CaseContext c, Workload<K> w) {
    Sample<K> small = w.sample(c, "small.", 11, 30);
    Sample<K> large = w.sample(c, "large.", 200, 3, 150);
    K kernel = c.tested().prepare(w.spec());
    Launchable smallLaunch = small.launchable(kernel);
    Launchable largeLaunch = large.launchable(kernel);
    c.stream().reserve(kernel.workspaceBytes(small.limits));
    Graph graph = c.keep(c.stream().capture(smallLaunch::on));
    c.launchOnce(stream -> {
      largeLaunch.on(stream); // grows the stream's scratch, which the graph must not lose
      graph.launch(stream);
    });
    large.check();
    small.check();
  }

  private static <K extends Kernel<?>> void allClosed(CaseContext c, Workload<K> w) {
    Device device = c.tested().device();
    Sample<K> sample = w.sample(c, "", 11, 30);
    Map<Operand, Tensor> inputs = new HashMap<>();
    for (Operand operand : sample.operands()) {
      if (!sample.outputs().contains(operand)) {
        inputs.put(operand, device.upload(c.read(operand)));
      }
    }
    Graph graph;
    try (Stream gone = device.newStream()) {
      K kernel = device.prepare(w.spec());
      Launchable launch =
          sample.launchable(kernel, o -> inputs.containsKey(o) ? inputs.get(o) : c.tested().of(o));
      gone.reserve(kernel.workspaceBytes(sample.limits));
      graph = c.keep(gone.capture(launch::on));
      launch.close();
      kernel.close();
    }
    inputs.values().forEach(Tensor::close);
    device.trim();
    c.launchOnce(graph::launch);
    sample.check();
  }

  private static <K extends Kernel<?>> void reservedScratch(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 40, 90);
    K kernel = c.tested().prepare(w.spec());
    Launchable launch = sample.launchable(kernel);
    long bytes = kernel.workspaceBytes(sample.limits);
    c.require(bytes >= 0, "workspaceBytes: " + bytes);
    if (bytes > 0) {
      c.requireThrows(
          IllegalStateException.class,
          () -> c.stream().capture(launch::on).close(),
          "scratch",
          Long.toString(bytes));
    }
    c.stream().reserve(bytes);
    Graph graph = c.keep(c.stream().capture(launch::on));
    c.launchOnce(graph::launch);
    sample.check();
  }
}
