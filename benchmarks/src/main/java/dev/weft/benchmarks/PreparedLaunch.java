package dev.weft.benchmarks;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Stream;
import dev.weft.Weft;
import dev.weft.cli.bench.Presets;
import dev.weft.cli.bench.Workload;
import java.util.List;

/** A preset of {@code weft bench} on an open device, ready to be launched. */
record PreparedLaunch(Device device, Stream stream, Workload workload) implements AutoCloseable {
  /**
   * Opens a device and prepares a preset.
   *
   * @param backend as {@link Weft#open(String)} takes it
   * @param preset the name of a preset of {@code weft bench}
   * @param type the storage type, by its text
   */
  static PreparedLaunch open(String backend, String preset, String type) {
    Device device = Weft.open(backend);
    try {
      Workload workload =
          Presets.find(List.of(preset)).getFirst().create(device, DataType.parse(type));
      return new PreparedLaunch(device, device.newStream(), workload);
    } catch (Throwable t) {
      device.close();
      throw t;
    }
  }

  void launch() {
    workload.launch(stream);
  }

  void await() {
    stream.synchronize();
  }

  @Override
  public void close() {
    try (device;
        stream) {
      workload.close();
    }
  }
}
