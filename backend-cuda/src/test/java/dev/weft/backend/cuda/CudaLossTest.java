package dev.weft.backend.cuda;

import dev.weft.gpu.fixtures.OwnProcess;
import dev.weft.gpu.fixtures.PresentDevice;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A kernel that reads where nothing is. */
class CudaLossTest {
  @Test
  void theProcessLivesOnAndOtherDevicesWork(@TempDir Path folder) throws Exception {
    PresentDevice.assumed(new CudaProvider());
    OwnProcess.runs(folder, LosingProgram.class, LosingProgram.DONE, "cuda", "cpu");
  }
}
