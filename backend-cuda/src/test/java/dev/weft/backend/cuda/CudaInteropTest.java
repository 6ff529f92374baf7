package dev.weft.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.HostTensor;
import dev.weft.Limits;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.interop.CudaInterop;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import java.util.Random;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUgraph;
import jcuda.driver.CUgraphExec;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Streams, memory and captures of other CUDA code of the process. */
class CudaInteropTest {
  private static final int NON_BLOCKING = 1;
  private static final int CAPTURE_RELAXED = 2;
  private static final int TOKENS = 300;

  private final ForeignStream foreign = new ForeignStream();
  private Device device;
  private CudaInterop interop;
  private Stream stream;
  private MobaAttention moba;

  /** JCuda shows the raw handle to subclasses only. */
  private static final class ForeignStream extends CUstream {
    long raw() {
      return getNativePointer();
    }
  }

  @BeforeEach
  void openDeviceAndWrapAStream() {
    CudaProvider provider = new CudaProvider();
    PresentDevice.assumed(provider);
    device = Weft.open(provider, null, DeviceOptions.defaults());
    interop = device.extension(CudaInterop.class).orElseThrow();
    assertNotEquals(0, interop.context());
    succeed(JCudaDriver.cuStreamCreate(foreign, NON_BLOCKING));
    stream = device.wrap(interop.wrapStream(foreign.raw()));
    moba =
        device.prepare(
            MobaAttentionSpec.builder()
                .dataType(DataType.BF16)
                .heads(2)
                .headDim(64)
                .blockSize(32)
                .topK(3)
                .build());
  }

  @AfterEach
  void close() {
    if (device != null) { // null where the test was skipped
      stream.close();
      succeed(JCudaDriver.cuStreamDestroy(foreign));
      device.close();
    }
  }

  private static void succeed(int code) {
    assertEquals(0, code);
  }

  private Tensor rows(int seed) {
    Random random = new Random(seed);
    float[] values = new float[TOKENS * 2 * 64];
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextFloat(-1, 1);
    }
    return device.upload(HostTensor.ofFloats(DataType.BF16, values, TOKENS, 2, 64));
  }

  private float[] attend(Stream on, Tensor q, Tensor k, Tensor v, Tensor starts, Tensor out) {
    moba.forward(on, MobaForward.of(q, k, v, starts, out));
    on.synchronize();
    return out.download().toFloats();
  }

  @Test
  void aCaptureThatTheOwnerOfAStreamBeganHoldsWholeOperations() {
    try (Tensor q = rows(1);
        Tensor k = rows(2);
        Tensor v = rows(3);
        Tensor other = rows(4);
        Tensor starts = device.upload(HostTensor.ofInts(new int[] {0, TOKENS}, 2));
        Tensor out = device.allocate(DataType.BF16, TOKENS, 2, 64)) {
      float[] ofV = attend(device.defaultStream(), q, k, v, starts, out);
      float[] ofOther = attend(device.defaultStream(), q, k, other, starts, out);
      stream.reserve(moba.workspaceBytes(Limits.of(TOKENS, 1)));

      succeed(JCudaDriver.cuStreamBeginCapture(foreign, CAPTURE_RELAXED));
      stream.zero(out);
      moba.forward(stream, MobaForward.of(q, k, v, starts, out));
      assertThrows(IllegalStateException.class, stream::synchronize);
      CUgraph graph = new CUgraph();
      succeed(JCudaDriver.cuStreamEndCapture(foreign, graph));
      assertArrayEquals(ofOther, out.download().toFloats(), "nothing was done yet");
      CUgraphExec executable = new CUgraphExec();
      succeed(JCudaDriver.cuGraphInstantiate(executable, graph, 0));

      succeed(JCudaDriver.cuGraphLaunch(executable, foreign));
      succeed(JCudaDriver.cuStreamSynchronize(foreign));
      assertArrayEquals(ofV, out.download().toFloats());
      device.defaultStream().copy(other, v);
      device.defaultStream().synchronize();
      succeed(JCudaDriver.cuGraphLaunch(executable, foreign));
      stream.synchronize();
      assertArrayEquals(ofOther, out.download().toFloats());
      succeed(JCudaDriver.cuGraphExecDestroy(executable));
      succeed(JCudaDriver.cuGraphDestroy(graph));
    }
  }

  @Test
  void aCaptureOfOthersIsToldHowMuchScratchItNeeds() {
    try (Tensor q = rows(1);
        Tensor starts = device.upload(HostTensor.ofInts(new int[] {0, TOKENS}, 2));
        Tensor out = device.allocate(DataType.BF16, TOKENS, 2, 64)) {
      succeed(JCudaDriver.cuStreamBeginCapture(foreign, CAPTURE_RELAXED));
      assertThrows(
          IllegalStateException.class,
          () -> moba.forward(stream, MobaForward.of(q, q, q, starts, out)));
      CUgraph graph = new CUgraph();
      succeed(JCudaDriver.cuStreamEndCapture(foreign, graph));
      succeed(JCudaDriver.cuGraphDestroy(graph));
    }
  }

  @Test
  void memoryAndOrderAreSharedWithOtherCode() {
    int[] values = {5, 6, 7, 8};
    CUdeviceptr theirs = new CUdeviceptr();
    succeed(JCudaDriver.cuMemAlloc(theirs, 16));
    succeed(JCudaDriver.cuMemcpyHtoD(theirs, Pointer.to(values), 16));
    try (Tensor ours = device.allocate(DataType.I32, 4);
        Tensor wrapped = device.wrap(interop.wrapMemory(address(theirs), 16), DataType.I32, 4)) {
      stream.copy(wrapped, ours);
      stream.zero(wrapped);
      succeed(JCudaDriver.cuStreamSynchronize(foreign)); // the same stream
      assertArrayEquals(values, ours.download().toInts());
      int[] after = new int[4];
      succeed(JCudaDriver.cuMemcpyDtoH(Pointer.to(after), theirs, 16));
      assertArrayEquals(new int[4], after);
    }
    succeed(JCudaDriver.cuMemFree(theirs)); // still theirs
  }

  private static long address(CUdeviceptr pointer) {
    return new Address(pointer).raw();
  }

  /** JCuda shows addresses to subclasses only. */
  private static final class Address extends CUdeviceptr {
    Address(CUdeviceptr pointer) {
      super(pointer, 0);
    }

    long raw() {
      return getNativePointer() + getByteOffset();
    }
  }
}
