package dev.weft.backend.opencl.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.fixtures.RecordingDevice;
import java.util.List;
import org.junit.jupiter.api.Test;

class RehearsalTest {
  @Test
  void itNotesWhatPreparingAsksForAndAsksForNothing() {
    ComputeTraits traits = new ComputeTraits(132, 1024, 98304, MatrixUnits.NVIDIA_MMA, 32, false);
    CausalConv1dSpec spec = CausalConv1dSpec.builder().channels(64).width(4).build();
    RecordingDevice device = new RecordingDevice(traits);
    List<KernelName> rehearsed = Rehearsal.kernels(device, spec);
    assertEquals(List.of(), device.asked());
    device.prepare(spec);
    assertEquals(device.asked(), rehearsed);
    assertFalse(rehearsed.isEmpty());
  }
}
