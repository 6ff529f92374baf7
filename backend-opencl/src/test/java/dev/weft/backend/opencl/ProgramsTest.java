package dev.weft.backend.opencl;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.DataType;
import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.conv1d.Conv1dRecipe;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.DeviceDescriptor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/**
 * The list of programs, of which the build compiles those of AMD's GPUs, is what recipes ask for.
 */
class ProgramsTest {
  private static final List<DataType> TYPES = List.of(DataType.F32, DataType.F16, DataType.BF16);

  private static final Map<String, ComputeTraits> FAMILIES =
      new TreeMap<>(
          Map.of(
              "nvidia", new ComputeTraits(132, 1024, 98304, MatrixUnits.NVIDIA_MMA, 32, false),
              "cdna", new ComputeTraits(104, 256, 65536, MatrixUnits.AMD_MFMA, 64, false),
              "rdna3", new ComputeTraits(96, 256, 65536, MatrixUnits.AMD_WMMA, 32, false),
              "rdna4", new ComputeTraits(64, 256, 65536, MatrixUnits.AMD_WMMA_12, 32, false)));

  @Test
  void theListIsWhatRecipesAskFor() throws IOException {
    List<String> lines = new ArrayList<>();
    for (Map.Entry<String, ComputeTraits> family : FAMILIES.entrySet()) {
      RecordingDevice device = new RecordingDevice(family.getValue());
      device.kernels(Conv1dRecipe.kernels());
      OpenClOperations operations = new OpenClOperations();
      for (OperationSpec<?> spec : specs()) {
        if (operations.supports(family.getValue(), spec).isSupported()) {
          operations.prepare(device, spec);
        }
      }
      for (int type = 1; type <= 2; type++) {
        device.programs.add(
            String.format(
                "matrix/check MATRIX=%d TYPE=%d WAVE=%d WM=64 WN=32",
                family.getValue().matrixUnits().code(), type, family.getValue().waveSize()));
      }
      device.programs.add(
          "matrix/local BYTES=" + (family.getKey().equals("nvidia") ? 98304 : 65536));
      device.programs.forEach(program -> lines.add(family.getKey() + " " + program));
    }
    List<String> listed =
        Files.readAllLines(Path.of("src", "build", "programs.txt")).stream()
            .filter(line -> !line.startsWith("#") && !line.isBlank())
            .toList();
    if (!lines.equals(listed)) {
      Files.createDirectories(Path.of("target"));
      Files.write(Path.of("target", "programs.txt"), lines);
    }
    assertEquals(
        String.join("\n", lines),
        String.join("\n", listed),
        "src/build/programs.txt is out of date; the right lines are in target/programs.txt");
  }

  /** One of each kind that gets programs of its own; conv1d lists them itself. */
  private static List<OperationSpec<?>> specs() {
    List<OperationSpec<?>> specs = new ArrayList<>();
    for (DataType type : TYPES) {
      for (int headDim : new int[] {64, 128, 256}) {
        for (int topK : new int[] {4, 16}) {
          specs.add(
              MobaAttentionSpec.builder()
                  .dataType(type)
                  .heads(8)
                  .kvHeads(2)
                  .headDim(headDim)
                  .blockSize(128)
                  .topK(topK)
                  .pageSize(64)
                  .modes(
                      MobaAttentionSpec.Mode.FORWARD,
                      MobaAttentionSpec.Mode.BACKWARD,
                      MobaAttentionSpec.Mode.PAGED)
                  .build());
        }
      }
      for (DataType weights : type == DataType.F32 ? TYPES : List.of(type)) {
        specs.add(
            MoeDispatchSpec.builder()
                .dataType(type)
                .weightType(weights)
                .hidden(256)
                .intermediate(128)
                .experts(8)
                .topK(2)
                .modes(MoeDispatchSpec.Mode.FORWARD, MoeDispatchSpec.Mode.BACKWARD)
                .build());
      }
    }
    return specs;
  }

  /** Compiles nothing, and notes what it was asked for. */
  private static final class RecordingDevice implements ComputeDevice {
    private final ComputeTraits traits;
    private final TreeSet<String> programs = new TreeSet<>();

    RecordingDevice(ComputeTraits traits) {
      this.traits = traits;
    }

    private record Named(KernelName name) implements ComputeKernel {
      @Override
      public int mostGroupSize() {
        return 256;
      }
    }

    @Override
    public List<ComputeKernel> kernels(List<KernelName> names) {
      for (KernelName name : names) {
        StringBuilder line = new StringBuilder(name.source());
        name.constants()
            .forEach(
                (constant, value) -> line.append(' ').append(constant).append('=').append(value));
        programs.add(line.toString());
      }
      return names.stream().<ComputeKernel>map(Named::new).toList();
    }

    @Override
    public ComputeTraits traits() {
      return traits;
    }

    @Override
    public DeviceDescriptor descriptor() {
      throw new UnsupportedOperationException();
    }

    @Override
    public Support supports(OperationSpec<?> spec) {
      throw new UnsupportedOperationException();
    }

    @Override
    public BackendKernel prepare(OperationSpec<?> spec) {
      throw new UnsupportedOperationException();
    }

    @Override
    public BackendMemory allocate(long bytes) {
      throw new UnsupportedOperationException();
    }

    @Override
    public BackendHostMemory allocateHost(long bytes) {
      throw new UnsupportedOperationException();
    }

    @Override
    public BackendStream newStream() {
      throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
  }
}
