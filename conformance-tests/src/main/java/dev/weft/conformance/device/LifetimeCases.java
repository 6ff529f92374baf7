package dev.weft.conformance.device;

import static dev.weft.conformance.device.DeviceCatalogue.deviceCase;

import dev.weft.Binding;
import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Event;
import dev.weft.Graph;
import dev.weft.HostTensor;
import dev.weft.Kernel;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.device.Workload.Launchable;
import dev.weft.conformance.device.Workload.Sample;
import java.util.ArrayList;
import java.util.List;

/** Use after close, close twice, closing what others still hold. */
final class LifetimeCases {
  private static final String OPERATION = "device.lifetime";

  private LifetimeCases() {}

  static java.util.stream.Stream<ConformanceCase> cases() {
    List<ConformanceCase> cases = new ArrayList<>();
    cases.add(deviceCase(OPERATION, "tensor-after-close", LifetimeCases::tensor));
    cases.add(deviceCase(OPERATION, "stream-and-event-after-close", LifetimeCases::stream));
    cases.add(deviceCase(OPERATION, "device-after-close", LifetimeCases::device));
    cases.add(deviceCase(OPERATION, "device-close-closes-all", LifetimeCases::deviceClosesAll));
    for (Workload<?> w : Workload.all()) {
      cases.add(
          ConformanceCase.of(OPERATION, DataType.F32, w.name(), "kernel-after-close", Family.RANDOM)
              .spec(w.spec())
              .runs(c -> kernel(c, w)));
    }
    return cases.stream();
  }

  private static void tensor(CaseContext c) {
    Device device = c.tested().device();
    Tensor a = device.upload(HostTensor.allocate(DataType.F32, 4, 4));
    Tensor view = a.slice(0, 1, 3);
    Tensor other = c.keep(device.allocate(DataType.F32, 4, 4));
    view.close();
    c.require(a.download().elements() == 16, "closing a view closed its owner");
    Tensor second = a.slice(0, 1, 3);
    a.close();
    a.close();
    c.requireThrows(IllegalStateException.class, () -> c.stream().copy(a, other), "closed");
    c.requireThrows(
        IllegalStateException.class, () -> c.stream().zero(second), "f32[2, 4]", "closed");
    c.requireThrows(IllegalStateException.class, () -> a.slice(0, 0, 1).close(), "closed");
  }

  private static void stream(CaseContext c) {
    Device device = c.tested().device();
    Stream stream = device.newStream();
    Event event = stream.record();
    event.synchronize();
    event.close();
    event.close();
    c.requireThrows(IllegalStateException.class, event::isComplete, "closed");
    c.requireThrows(IllegalStateException.class, () -> c.stream().await(event), "closed");
    stream.close();
    stream.close();
    Tensor a = c.keep(device.allocate(DataType.F32, 4));
    c.requireThrows(IllegalStateException.class, () -> stream.zero(a), "closed");
    c.requireThrows(IllegalStateException.class, stream::synchronize, "closed");
  }

  private static void device(CaseContext c) {
    Device device = c.openAgain(o -> {});
    Tensor a = device.allocate(DataType.F32, 4);
    device.close();
    device.close();
    a.close();
    String selector = device.info().selector();
    c.requireThrows(IllegalStateException.class, device::newStream, selector, "closed");
    c.requireThrows(
        IllegalStateException.class, () -> device.allocate(DataType.F32, 4).close(), selector);
    c.requireThrows(IllegalStateException.class, device::memory, selector);
  }

  private static void deviceClosesAll(CaseContext c) {
    Device device = c.openAgain(o -> {});
    Tensor a = device.allocate(DataType.U8, 1 << 20);
    Stream stream = device.newStream();
    HostTensor back = HostTensor.allocate(DataType.U8, 1 << 20);
    Event event = stream.record();
    stream.fill(a, (byte) 0x14);
    stream.download(a, back);
    device.close();
    HostTensor want = HostTensor.allocate(DataType.U8, 1 << 20);
    want.segment().fill((byte) 0x14);
    TransferCases.same(c, "work before a device's close", back, want);
    c.require(device.openObjects().isEmpty(), "left open: " + device.openObjects());
    c.requireThrows(IllegalStateException.class, () -> stream.zero(a), "closed");
    event.close();
    stream.close();
    a.close();
  }

  private static <K extends Kernel<?>> void kernel(CaseContext c, Workload<K> w) {
    Device device = c.tested().device();
    Sample<K> sample = w.sample(c, "", 5, 9);
    K kernel = device.prepare(w.spec());
    Launchable launch = sample.launchable(kernel);
    c.launchOnce(launch::on);
    sample.check();
    Binding binding = launch.binding();
    if (binding != null) {
      binding.close();
      binding.close();
      c.requireThrows(IllegalStateException.class, () -> launch.on(c.stream()), "closed");
    }
    kernel.close();
    kernel.close();
    c.requireThrows(IllegalStateException.class, () -> launch.on(c.stream()), "closed");
    if (device.info().graphs()) {
      Graph graph = c.stream().capture(s -> s.zero(c.tested().of(sample.outputs().getFirst())));
      graph.close();
      graph.close();
      c.requireThrows(IllegalStateException.class, () -> graph.launch(c.stream()), "closed");
    }
  }
}
