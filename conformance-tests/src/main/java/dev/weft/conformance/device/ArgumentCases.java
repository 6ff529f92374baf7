package dev.weft.conformance.device;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Kernel;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.device.Workload.Launchable;
import dev.weft.conformance.device.Workload.Sample;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;

/** Arguments that do not fit, and values on the device that are out of range. */
final class ArgumentCases {
  private static final String OPERATION = "device.arguments";

  private ArgumentCases() {}

  static java.util.stream.Stream<ConformanceCase> cases() {
    List<ConformanceCase> cases = new ArrayList<>();
    for (Workload<?> w : Workload.all()) {
      cases.add(of(w, "wrong-shape-or-type", c -> wrongShape(c, w)));
      cases.add(of(w, "wrong-stride", c -> wrongStride(c, w)));
      cases.add(of(w, "overlap", c -> overlap(c, w)));
      cases.add(of(w, "devices-mixed", c -> mixed(c, w)));
      cases.add(of(w, "bad-lengths-stay-in-bounds", c -> badLengths(c, w)));
      cases.add(of(w, "bad-lengths-validated", c -> validated(c, w)));
      cases.add(of(w, "good-values-validated", c -> validatedGood(c, w)));
    }
    return cases.stream();
  }

  private static ConformanceCase of(Workload<?> w, String feature, ConformanceCase.Body body) {
    return ConformanceCase.of(OPERATION, DataType.F32, w.name(), feature, Family.ADVERSARIAL)
        .spec(w.spec())
        .runs(body);
  }

  /** Launches with one tensor replaced by another. */
  private static <K extends Kernel<?>> void launchWith(
      CaseContext c, Workload<K> w, Sample<K> sample, Operand replaced, Tensor by) {
    Function<Operand, Tensor> on = o -> o == replaced ? by : c.tested().of(o);
    try (Launchable launch = sample.launchable(c.tested().prepare(w.spec()), on)) {
      launch.on(c.stream());
    }
  }

  /** The last part of a sample's tensor name is its argument's. */
  private static String argument(Operand operand) {
    return operand.name().substring(operand.name().indexOf('.') + 1);
  }

  private static <K extends Kernel<?>> void wrongShape(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 7, 20);
    Device device = c.tested().device();
    for (Operand operand : sample.operands()) {
      long[] more = operand.shape();
      more[more.length - 1] += 1;
      if (operand != sample.lengths() || w.name().equals("moe")) {
        Tensor wider = c.keep(device.allocate(operand.dataType(), more));
        c.requireThrows(
            IllegalArgumentException.class,
            () -> launchWith(c, w, sample, operand, wider),
            argument(operand),
            "expected",
            wider.toString());
      }
      DataType other = operand.dataType() == DataType.F32 ? DataType.I32 : DataType.F32;
      Tensor typed = c.keep(device.allocate(other, operand.shape()));
      c.requireThrows(
          IllegalArgumentException.class,
          () -> launchWith(c, w, sample, operand, typed),
          argument(operand),
          typed.toString());
    }
    c.stream().synchronize();
  }

  private static <K extends Kernel<?>> void wrongStride(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 7, 20);
    Operand operand = sample.input();
    long[] shape = operand.shape();
    int last = shape.length - 1;
    long[] swapped = shape.clone();
    swapped[last] = shape[last - 1];
    swapped[last - 1] = shape[last];
    Tensor base = c.keep(c.tested().device().allocate(operand.dataType(), swapped));
    Tensor wrong = base.transpose(last - 1, last);
    c.requireThrows(
        IllegalArgumentException.class,
        () -> launchWith(c, w, sample, operand, wrong),
        argument(operand),
        "stride");
  }

  private static <K extends Kernel<?>> void overlap(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 7, 20);
    Operand in = sample.input();
    Operand out = sample.outputs().getFirst();
    c.requireThrows(
        IllegalArgumentException.class,
        () -> launchWith(c, w, sample, out, c.tested().of(in)),
        argument(in),
        argument(out),
        "overlap");
  }

  private static <K extends Kernel<?>> void mixed(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 7, 20);
    try (Device other = c.openAnother();
        Stream stream = other.newStream();
        Tensor strange = other.upload(c.read(sample.input()))) {
      c.requireThrows(
          IllegalArgumentException.class,
          () -> launchWith(c, w, sample, sample.input(), strange),
          argument(sample.input()),
          other.info().selector(),
          c.tested().device().info().selector());
      Launchable launch = sample.launchable(c.tested().prepare(w.spec()));
      c.requireThrows(
          IllegalArgumentException.class,
          () -> launch.on(stream),
          other.info().selector(),
          c.tested().device().info().selector());
    }
    c.launchOnce(sample.launchable(c.tested().prepare(w.spec()))::on);
    sample.check();
  }

  /**
   * Lengths that no caller may give. What they make is unspecified, but it stays in the outputs.
   */
  private static List<HostTensor> badLengths(Sample<?> sample) {
    List<HostTensor> bad = new ArrayList<>();
    int n = (int) sample.lengths().shape()[0];
    int[][] tails =
        n == 1
            ? new int[][] {{-1}, {1_000_000}, {Integer.MAX_VALUE}, {Integer.MIN_VALUE}}
            : new int[][] {
              {0, 1_000_000, 2_000_000},
              {0, 20, 7},
              {0, -5, 20},
              {-3, 7, 20},
              {5, 7, 20},
              {0, 7, Integer.MAX_VALUE},
              {Integer.MIN_VALUE, 0, Integer.MAX_VALUE},
              {0x7bdbdbdb, 0x7bdbdbdb, 0x7bdbdbdb},
              {0, 1 << 30, 1 << 30},
            };
    for (int[] values : tails) {
      bad.add(HostTensor.ofInts(values, values.length));
    }
    return bad;
  }

  private static <K extends Kernel<?>> void badLengths(CaseContext c, Workload<K> w) {
    Sample<K> sample = w.sample(c, "", 7, 20);
    Launchable launch = sample.launchable(c.tested().prepare(w.spec()));
    for (HostTensor bad : badLengths(sample)) {
      c.overwrite(sample.lengths(), bad);
      c.launchOnce(launch::on); // looks at every byte around the tensors
    }
    c.overwrite(sample.lengths(), sample.lengthValues(7, 20));
    c.launchOnce(launch::on);
    sample.check();
  }

  private static <K extends Kernel<?>> void onValidating(
      CaseContext c, Workload<K> w, ValidatedBody<K> body) {
    Sample<K> sample = w.sample(c, "", 7, 20);
    try (Device device = c.openAgain(o -> o.validate(true));
        Stream stream = device.newStream();
        K kernel = device.prepare(w.spec())) {
      Map<Operand, Tensor> tensors = new HashMap<>();
      for (Operand operand : sample.operands()) {
        tensors.put(operand, device.upload(c.read(operand)));
      }
      Function<Operand, Tensor> on = operand -> Objects.requireNonNull(tensors.get(operand));
      try (Launchable launch = sample.launchable(kernel, on)) {
        body.run(sample, on, launch, stream);
        stream.synchronize();
      } finally {
        tensors.values().forEach(Tensor::close);
      }
    }
  }

  /** What is done with a sample on a validating device. */
  private interface ValidatedBody<K extends Kernel<?>> {
    void run(Sample<K> sample, Function<Operand, Tensor> on, Launchable launch, Stream stream);
  }

  private static <K extends Kernel<?>> void validated(CaseContext c, Workload<K> w) {
    onValidating(
        c,
        w,
        (sample, on, launch, stream) -> {
          for (HostTensor bad : badLengths(sample)) {
            stream.upload(bad, on.apply(sample.lengths()));
            c.requireThrows(
                IllegalArgumentException.class,
                () -> launch.on(stream),
                argument(sample.lengths()));
          }
        });
  }

  private static <K extends Kernel<?>> void validatedGood(CaseContext c, Workload<K> w) {
    onValidating(
        c,
        w,
        (sample, on, launch, stream) -> {
          launch.on(stream);
          // The same bits as without validation, which sample.check() then holds to the oracle.
          Launchable plain = sample.launchable(c.tested().prepare(w.spec()));
          c.launchOnce(plain::on);
          sample.check();
          for (Operand output : sample.outputs()) {
            HostTensor got = HostTensor.allocate(output.dataType(), output.shape());
            stream.download(on.apply(output), got);
            stream.synchronize();
            TransferCases.same(c, output.name() + " with validation", got, c.read(output));
          }
        });
  }
}
