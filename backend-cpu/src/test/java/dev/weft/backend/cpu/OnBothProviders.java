package dev.weft.backend.cpu;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.spi.KernelProvider;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;

/** What tests of the reference and of the parallel provider open, closed behind each of them. */
abstract class OnBothProviders {
  private final List<AutoCloseable> open = new ArrayList<>();

  static List<KernelProvider> providers() {
    return List.of(new ReferenceProvider(), new CpuProvider());
  }

  @AfterEach
  void close() throws Exception {
    for (AutoCloseable each : open.reversed()) {
      each.close();
    }
  }

  final Device device(KernelProvider provider) {
    return keep(Weft.open(provider, "0", DeviceOptions.defaults()));
  }

  final <T extends AutoCloseable> T keep(T each) {
    open.add(each);
    return each;
  }

  final Tensor floats(Device device, float[] values, long... shape) {
    return keep(device.upload(HostTensor.ofFloats(DataType.F32, values, shape)));
  }

  final Tensor ints(Device device, int... values) {
    return keep(device.upload(HostTensor.ofInts(values, values.length)));
  }
}
