package dev.weft.backend.vulkan;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.DataType;
import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.vulkan.shaders.ShaderLibrary;
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
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * There is no compiler at run time: what a recipe may ask for on any device was compiled. Recipes
 * are told of 64 KiB of local memory at most.
 */
class KernelsOfRecipesTest {
  private static final List<DataType> TYPES = List.of(DataType.F32, DataType.F16, DataType.BF16);

  @ParameterizedTest
  @CsvSource({
    "2, 1024, 32768, NONE, true", // lavapipe
    "8, 1024, 65536, NONE, true",
    "132, 1024, 49152, COOPERATIVE, false", // NVIDIA
    "16, 1024, 49152, NONE, false",
    "48, 1024, 65536, NONE, false", // AMD
    "48, 1024, 65536, COOPERATIVE, false",
    "16, 1024, 32768, NONE, false",
    "16, 1024, 32768, COOPERATIVE, false",
    "16, 256, 32768, NONE, false",
    "16, 128, 16384, NONE, false",
  })
  void everyKernelThatRecipesAskForWasCompiled(
      int units, int group, long local, MatrixUnits matrix, boolean cpu) {
    Recorder device = new Recorder(new ComputeTraits(units, group, local, matrix, 32, cpu));
    device.kernels(Conv1dRecipe.kernels());
    VulkanOperations operations = new VulkanOperations();
    for (OperationSpec<?> spec : specs()) {
      if (operations.supports(device.traits(), spec).isSupported()) {
        operations.prepare(device, spec);
      }
    }
    assertEquals("", String.join("\n", device.missing));
  }

  /** One of each kind that gets programs of its own. */
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
      for (DataType weights : TYPES) {
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

  /** Makes nothing, and notes what it is asked for in vain. */
  private static final class Recorder implements ComputeDevice {
    private final ShaderLibrary library = ShaderLibrary.ofBackend();
    private final ComputeTraits traits;
    private final TreeSet<String> missing = new TreeSet<>();

    Recorder(ComputeTraits traits) {
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
        if (!library.has(name)) {
          missing.add(name.toString());
        }
      }
      return names.stream().<ComputeKernel>map(Named::new).toList();
    }

    @Override
    public ComputeTraits traits() {
      return traits;
    }

    /** The other kernels are asked for where there are no units. */
    @Override
    public boolean hasRowsInQuads() {
      return traits.matrixUnits() == MatrixUnits.COOPERATIVE;
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
