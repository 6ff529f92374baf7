package dev.weft.conv1d;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;
import static dev.weft.DataType.I32;
import static dev.weft.DataType.U8;
import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.fake.FakeProvider;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Convolutions are launched with tensors that fit, or refused before anything is enqueued. */
class Conv1dArgumentsTest {
  private static final CausalConv1dSpec SPEC =
      CausalConv1dSpec.builder()
          .dataType(BF16)
          .weightType(F16)
          .stateType(F32)
          .channels(6)
          .width(4)
          .bias(true)
          .modes(
              CausalConv1dSpec.Mode.FORWARD,
              CausalConv1dSpec.Mode.UPDATE,
              CausalConv1dSpec.Mode.BACKWARD)
          .build();
  private static final int T = 10;
  private static final int B = 2;
  private static final int L = 3;

  private final FakeProvider provider = new FakeProvider();
  private Device device = provider.open();
  private Stream stream = device.defaultStream();
  private CausalConv1d kernel = device.prepare(SPEC);
  private Conv1dBinding binding = bind(kernel);
  private Tensors t = new Tensors();

  private final class Tensors {
    @Nullable Tensor x = make(BF16, T, 6);
    @Nullable Tensor out = make(BF16, T, 6);
    @Nullable Tensor cuSeqlens = ints(0, 4, 10);
    @Nullable Tensor states = make(F32, 5, 6, 8);
    @Nullable Tensor cacheIndices = ints(3, 1);
    @Nullable Tensor hasInitialState = make(U8, B);
    @Nullable Tensor cacheSeqlens;
    @Nullable Tensor initialStatesOut;
    @Nullable Tensor batch = make(BF16, B, L, 6);
    @Nullable Tensor batchOut = make(BF16, B, L, 6);
    @Nullable Tensor numAccepted;
    @Nullable Tensor lengths;
    @Nullable Tensor dout = make(BF16, T, 6);
    @Nullable Tensor initialStates = make(F32, B, 6, 3);
    @Nullable Tensor dfinalStates = make(F32, B, 6, 3);
    @Nullable Tensor dx = make(BF16, T, 6);
    @Nullable Tensor dweight = make(F32, 6, 4);
    @Nullable Tensor dbias = make(F32, 6);
    @Nullable Tensor dinitialStates = make(F32, B, 6, 3);
  }

  @AfterEach
  void theApiUsedTheBackendWell() {
    device.close();
    assertEquals(List.of(), provider.device().violations());
  }

  private Tensor make(DataType type, long... shape) {
    return device.allocate(type, shape);
  }

  private Tensor ints(int... values) {
    return device.upload(HostTensor.ofInts(values, values.length));
  }

  private Conv1dBinding bind(CausalConv1d kernel) {
    return kernel.bind(make(F16, 6, 4), make(F16, 6));
  }

  @SuppressWarnings("NullAway") // a required tensor may be missing on purpose
  private void forward() {
    kernel.forward(
        stream,
        Conv1dForward.of(binding, t.x, t.cuSeqlens, t.out)
            .states(t.states)
            .cacheIndices(t.cacheIndices)
            .hasInitialState(t.hasInitialState)
            .cacheSeqlens(t.cacheSeqlens)
            .initialStatesOut(t.initialStatesOut));
  }

  @SuppressWarnings("NullAway")
  private void update() {
    kernel.update(
        stream,
        Conv1dUpdate.of(binding, t.batch, t.states, t.cacheIndices, t.batchOut)
            .cuSeqlens(t.lengths)
            .cacheSeqlens(t.cacheSeqlens)
            .numAccepted(t.numAccepted));
  }

  @SuppressWarnings("NullAway")
  private void backward() {
    kernel.backward(
        stream,
        Conv1dBackward.of(binding, t.x, t.cuSeqlens, t.dout)
            .cacheIndices(t.cacheIndices)
            .initialStates(t.initialStates)
            .hasInitialState(t.hasInitialState)
            .dfinalStates(t.dfinalStates)
            .dx(t.dx)
            .dweight(t.dweight)
            .dbias(t.dbias)
            .dinitialStates(t.dinitialStates)
            .accumulate(true));
  }

  private void refused(Runnable change, Runnable launch, String... parts) {
    change.run();
    int pending = provider.device().stream(0).pending();
    assertMentions(assertThrows(IllegalArgumentException.class, launch::run), parts);
    assertEquals(pending, provider.device().stream(0).pending(), "nothing was enqueued");
    t = new Tensors();
  }

  private void missing(Runnable change, Runnable launch, String name) {
    change.run();
    assertEquals(name, assertThrows(NullPointerException.class, launch::run).getMessage());
    t = new Tensors();
  }

  @Test
  void fittingTensorsAreLaunched() {
    forward();
    update();
    backward();
    t.states = null;
    t.cacheIndices = null;
    t.hasInitialState = null;
    forward();
    stream.synchronize();
    List<String> log = provider.device().log();
    for (String launch : List.of("conv1d.forward", "conv1d.update", "conv1d.backward")) {
      assertTrue(log.contains("run " + launch), log.toString());
    }
    assertTrue(log.contains("refresh"), "binding reads the weights once");
  }

  @Test
  void bindRefusesWeightsThatDoNotFit() {
    Runnable none = () -> {};
    Tensor weight = make(F16, 6, 4);
    Tensor bias = make(F16, 6);
    refused(
        none,
        () -> kernel.bind(make(F16, 6, 3), bias),
        "conv1d.bind: weight:",
        "f16[6, 4]",
        "f16[6, 3]");
    refused(none, () -> kernel.bind(make(BF16, 6, 4), bias), "weight:", "bf16[6, 4]");
    refused(none, () -> kernel.bind(make(F16, 4, 6).transpose(0, 1), bias), "weight (", "stride 1");
    refused(none, () -> kernel.bind(weight, make(F16, 7)), "bias:", "f16[7]");
    refused(none, () -> kernel.bind(weight, null), "bias: the spec has one");
    CausalConv1d plain = device.prepare(SPEC.toBuilder().bias(false).build());
    refused(none, () -> plain.bind(weight, bias), "bias: the spec has none");
    plain.bind(weight, null).close();
  }

  @Test
  void weightsBoundToAnotherKernelAreRefused() {
    binding = bind(device.prepare(SPEC));
    refused(() -> {}, this::forward, "weights: bound to another kernel");
    refused(() -> {}, this::update, "weights: bound to another kernel");
    refused(() -> {}, this::backward, "weights: bound to another kernel");
  }

  @Test
  void forwardRefusesWrongShapesTypesAndRanks() {
    refused(
        () -> t.x = make(BF16, T, 7),
        this::forward,
        "conv1d.forward: x:",
        "bf16[10, 6]",
        "bf16[10, 7]");
    refused(() -> t.x = make(BF16, 1, T, 6), this::forward, "x:", "[T, C]", "bf16[1, 10, 6]");
    refused(() -> t.x = make(F32, T, 6), this::forward, "x:", "f32[10, 6]");
    refused(() -> t.out = make(BF16, T - 1, 6), this::forward, "out:", "bf16[9, 6]");
    refused(() -> t.cuSeqlens = make(F32, 3), this::forward, "cuSeqlens:", "i32[3]");
    refused(() -> t.states = make(BF16, 5, 6, 8), this::forward, "states:", "f32[*, 6, *]");
    refused(() -> t.states = make(F32, 5, 8, 6), this::forward, "states:", "f32[5, 8, 6]");
    refused(
        () -> t.states = make(F32, 5, 6, 2),
        this::forward,
        "states:",
        "at least 3 columns",
        "f32[5, 6, 2]");
    refused(() -> t.cacheIndices = ints(0), this::forward, "cacheIndices:", "i32[2]");
    refused(() -> t.hasInitialState = make(I32, B), this::forward, "hasInitialState:", "u8[2]");
    refused(() -> t.cacheSeqlens = make(I32, 3), this::forward, "cacheSeqlens:", "i32[2]");
    refused(
        () -> t.initialStatesOut = make(F32, B, 6, 4),
        this::forward,
        "initialStatesOut:",
        "f32[2, 6, 3]");
  }

  @Test
  void statesComeWithTheirSlotsAndFlagsOrNotAtAll() {
    String all = "states, cacheIndices and hasInitialState: expected all or none";
    refused(() -> t.states = null, this::forward, all);
    refused(() -> t.cacheIndices = null, this::forward, all);
    refused(() -> t.hasInitialState = null, this::forward, all);
    refused(
        () -> {
          t.states = null;
          t.cacheIndices = null;
          t.hasInitialState = null;
          t.cacheSeqlens = ints(0, 0);
        },
        this::forward,
        "cacheSeqlens and initialStatesOut need states");
    refused(() -> t.initialStates = null, this::backward, "initialStates and hasInitialState");
  }

  @Test
  void missingTensorsAreNamed() {
    missing(() -> t.x = null, this::forward, "x");
    missing(() -> t.cuSeqlens = null, this::forward, "cuSeqlens");
    missing(() -> t.out = null, this::forward, "out");
    missing(() -> t.states = null, this::update, "states");
    missing(() -> t.cacheIndices = null, this::update, "cacheIndices");
    missing(() -> t.dout = null, this::backward, "dout");
  }

  @Test
  void statesMayHaveEitherOfTheLastTwoDimensionsInnermost() {
    t.states = make(F32, 5, 8, 6).transpose(1, 2);
    t.initialStatesOut = make(F32, B, 3, 6).transpose(1, 2);
    forward();
    update();
    t.initialStates = make(F32, B, 3, 6).transpose(1, 2);
    t.dfinalStates = make(F32, B, 3, 6).transpose(1, 2);
    t.dinitialStates = make(F32, B, 3, 6).transpose(1, 2);
    backward();
    refused(
        () -> t.states = make(F32, 5, 6, 8, 2).select(3, 0),
        this::forward,
        "states (",
        "last dimension or the one before",
        "[96, 16, 2]");
    refused(() -> t.x = make(BF16, 6, T).transpose(0, 1), this::forward, "x (", "stride 1");
    refused(() -> t.dx = make(BF16, T, 6, 2).select(2, 1), this::backward, "dx (");
  }

  @Test
  void updateTakesBatchesAndRaggedTokens() {
    refused(
        () -> t.batch = make(BF16, B, L, 7), this::update, "conv1d.update: x:", "bf16[2, 3, 6]");
    refused(
        () -> t.batch = make(BF16, B, 6),
        this::update,
        "x:",
        "[B, L, C], or [T, C] with cuSeqlens");
    refused(() -> t.batchOut = make(BF16, B, L + 1, 6), this::update, "out:");
    refused(() -> t.cacheIndices = ints(1, 2, 3), this::update, "cacheIndices:", "i32[2]");
    refused(() -> t.states = make(F32, 5, 6, 2), this::update, "states:", "at least 3 columns");
    t.lengths = ints(0, 4, 10);
    refused(() -> {}, this::update, "x:", "as there are cuSeqlens", "bf16[2, 3, 6]");
    t.lengths = ints(0, 4, 10);
    t.batch = make(BF16, T, 6);
    t.batchOut = make(BF16, T, 6);
    update();
  }

  @Test
  void speculationNeedsRoomForTheHistoryOfEveryToken() {
    t.numAccepted = ints(1, 2);
    t.states = make(F32, 5, 6, 5); // W - 2 + L
    update();
    t.numAccepted = ints(1, 2);
    refused(() -> t.states = make(F32, 5, 6, 4), this::update, "states:", "at least 5 columns");
    t.numAccepted = ints(1, 2);
    refused(() -> t.cacheSeqlens = ints(0, 0), this::update, "numAccepted: rings");
    refused(() -> t.numAccepted = ints(1), this::update, "numAccepted:", "i32[2]");
  }

  @Test
  void anUpdateMayWriteOverItsInputExactly() {
    t.batchOut = t.batch;
    update();
    Tensor shared = make(BF16, B + 1, L, 6);
    refused(
        () -> {
          t.batch = shared.slice(0, 0, 2);
          t.batchOut = shared.slice(0, 1, 3);
        },
        this::update,
        "x (",
        "out (",
        "overlap");
    refused(() -> t.out = t.x, this::forward, "x (", "out (", "overlap");
    refused(() -> t.dx = t.x, this::backward, "dx (", "x (", "overlap");
  }

  @Test
  void writtenTensorsDoNotOverlapBoundWeights() {
    Tensor shared = make(F32, 6, 4);
    CausalConv1d same = device.prepare(SPEC.toBuilder().weightType(F32).build());
    binding = same.bind(shared, make(F32, 6));
    kernel = same;
    refused(() -> t.dweight = shared, this::backward, "dweight (", "weight (f32[6, 4])", "overlap");
  }

  @Test
  void backwardRefusesWrongShapesAndTypes() {
    refused(() -> t.dout = make(BF16, T, 7), this::backward, "conv1d.backward: dout:");
    refused(
        () -> t.initialStates = make(F32, B, 6, 4),
        this::backward,
        "initialStates:",
        "f32[2, 6, 3]");
    refused(() -> t.dfinalStates = make(BF16, B, 6, 3), this::backward, "dfinalStates:", "bf16");
    refused(() -> t.dx = make(BF16, T + 1, 6), this::backward, "dx:");
    refused(
        () -> t.dweight = make(F16, 6, 4), this::backward, "dweight:", "f32[6, 4]", "f16[6, 4]");
    refused(() -> t.dbias = make(F32, 4), this::backward, "dbias:");
    refused(() -> t.dinitialStates = make(F32, B, 3, 6), this::backward, "dinitialStates:");
    kernel = device.prepare(SPEC.toBuilder().bias(false).gradientType(F16).build());
    binding = kernel.bind(make(F16, 6, 4), null);
    refused(() -> t.dweight = make(F16, 6, 4), this::backward, "dbias:", "f16");
    t.dbias = make(F16, 6);
    refused(() -> t.dweight = make(F16, 6, 4), this::backward, "dbias: the spec has no bias");
  }

  @Test
  void onlyPreparedModesAreLaunched() {
    kernel = device.prepare(SPEC.toBuilder().modes(CausalConv1dSpec.Mode.FORWARD).build());
    binding = bind(kernel);
    forward();
    refused(() -> {}, this::update, "[FORWARD] only", "add UPDATE");
    refused(() -> {}, this::backward, "add BACKWARD");
  }

  @Test
  void emptyBatchesAreLegal() {
    t.x = make(BF16, 0, 6);
    t.out = make(BF16, 0, 6);
    t.cuSeqlens = ints(0);
    t.cacheIndices = make(I32, 0);
    t.hasInitialState = make(U8, 0);
    forward();
    t.batch = make(BF16, 0, L, 6);
    t.batchOut = make(BF16, 0, L, 6);
    update();
  }

  @Test
  void validationReadsLengthsSlotsAndAcceptedTokens() {
    device.close();
    device = provider.open(DeviceOptions.builder().validate(true).build());
    stream = device.defaultStream();
    kernel = device.prepare(SPEC);
    binding = bind(kernel);
    t = new Tensors();
    forward();
    update();
    backward();
    refused(
        () -> t.cuSeqlens = ints(0, 11, 10), this::forward, "cuSeqlens[2]", "at least 11", "10");
    refused(() -> t.cuSeqlens = ints(0, 4, 11), this::backward, "cuSeqlens[2]", "at most 10", "11");
    refused(
        () -> t.cacheIndices = ints(0, 5), this::forward, "cacheIndices", "element 1", "0..4", "5");
    refused(() -> t.cacheIndices = ints(-2, 1), this::update, "cacheIndices", "element 0", "-2");
    refused(() -> t.cacheIndices = ints(1, 1), this::update, "cacheIndices[1]", "slot 1", "twice");
    t.cacheIndices = ints(-1, -1); // both skipped
    forward();
    update();
    t.numAccepted = ints(1, 6);
    t.cacheIndices = ints(0, 1);
    update();
    t.numAccepted = ints(1, 7);
    refused(() -> {}, this::update, "numAccepted[1]", "1..6", "7");
    t.numAccepted = ints(0, 1);
    refused(() -> {}, this::update, "numAccepted[0]", "1..6", "0");
  }
}
