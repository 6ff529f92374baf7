package dev.weft.moe;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;
import static dev.weft.DataType.I32;
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
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/**
 * Mixtures are bound and launched with tensors that fit, or refused before anything is enqueued.
 */
class MoeArgumentsTest {
  private static final int T = 7;
  private static final int H = 8;
  private static final int I = 4;
  private static final int E = 6;
  private static final int K = 2;
  private static final int LOCAL = 3;
  private static final int SHARED = 5;

  private static final MoeDispatchSpec SPEC =
      MoeDispatchSpec.builder()
          .dataType(BF16)
          .weightType(F16)
          .routerType(F32)
          .hidden(H)
          .intermediate(I)
          .experts(E)
          .topK(K)
          .router(RouterSpec.builder().routerBias(true).correctionBias(true).build())
          .expertBias(true)
          .sharedIntermediate(SHARED)
          .sharedGate(true)
          .firstExpert(1)
          .localExperts(LOCAL)
          .modes(MoeDispatchSpec.Mode.FORWARD, MoeDispatchSpec.Mode.BACKWARD)
          .build();

  private final FakeProvider provider = new FakeProvider();
  private Device device = provider.open();
  private Stream stream = device.defaultStream();
  private MoeDispatch kernel = device.prepare(SPEC);
  private MoeBinding binding = kernel.bind(weights());

  @AfterEach
  void theApiUsedTheBackendWell() {
    device.close();
    assertEquals(List.of(), provider.device().violations());
  }

  private Tensor make(DataType type, long... shape) {
    return device.allocate(type, shape);
  }

  private Tensor ints(long[] shape, int... values) {
    return device.upload(HostTensor.ofInts(values, shape));
  }

  private MoeWeights weights() {
    return MoeWeights.of(make(F16, LOCAL, H, I))
        .gateUp(make(F16, LOCAL, 2 * I, H))
        .gateUpBias(make(F16, LOCAL, 2 * I))
        .downBias(make(F16, LOCAL, H))
        .routerWeight(make(F32, E, H))
        .routerBias(make(F32, E))
        .correctionBias(make(F32, E))
        .sharedGateUp(make(F16, 2 * SHARED, H))
        .sharedDown(make(F16, H, SHARED))
        .sharedGateWeight(make(F32, 1, H));
  }

  private MoeForward arguments() {
    return MoeForward.of(binding, make(BF16, T, H), make(BF16, T, H))
        .ids(make(I32, T, K))
        .routingWeights(make(F32, T, K))
        .logits(make(F32, T, E))
        .counts(make(I32, E))
        .tokenCount(ints(new long[] {1}, T))
        .saved(saved());
  }

  private MoeSaved saved() {
    return MoeSaved.of(make(I32, T, K), make(F32, T, K), make(I32, T * K))
        .logits(make(F32, T, E))
        .z(make(BF16, T * K, 2 * I));
  }

  private MoeBackward gradients() {
    return MoeBackward.of(binding, make(BF16, T, H), make(BF16, T, H), saved())
        .tokenCount(ints(new long[] {1}, T))
        .auxiliaryDlogits(make(F32, T, E))
        .dx(make(BF16, T, H))
        .dlogits(make(F32, T, E))
        .drouterWeight(make(F32, E, H))
        .drouterBias(make(F32, E))
        .dgateUp(make(F32, LOCAL, 2 * I, H))
        .ddown(make(F32, LOCAL, H, I))
        .dgateUpBias(make(F32, LOCAL, 2 * I))
        .ddownBias(make(F32, LOCAL, H))
        .dsharedGateUp(make(F32, 2 * SHARED, H))
        .dsharedDown(make(F32, H, SHARED))
        .dsharedGateWeight(make(F32, 1, H));
  }

  private void refused(Runnable launch, String... parts) {
    int pending = provider.device().stream(0).pending();
    assertMentions(assertThrows(IllegalArgumentException.class, launch::run), parts);
    assertEquals(pending, provider.device().stream(0).pending(), "nothing was enqueued");
  }

  private void refusedWeights(UnaryOperator<MoeWeights> change, String... parts) {
    MoeWeights weights = change.apply(weights());
    refused(() -> kernel.bind(weights), parts);
  }

  private void refusedForward(UnaryOperator<MoeForward> change, String... parts) {
    MoeForward arguments = change.apply(arguments());
    refused(() -> kernel.forward(stream, arguments), parts);
  }

  private void refusedBackward(UnaryOperator<MoeBackward> change, String... parts) {
    MoeBackward arguments = change.apply(gradients());
    refused(() -> kernel.backward(stream, arguments), parts);
  }

  private void prepare(MoeDispatchSpec other, UnaryOperator<MoeWeights> change) {
    kernel = device.prepare(other);
    binding = kernel.bind(change.apply(weights()));
  }

  @Test
  void fittingTensorsAreLaunched() {
    kernel.forward(stream, arguments());
    kernel.forward(stream, MoeForward.of(binding, make(BF16, T, H), make(BF16, T, H)));
    kernel.backward(stream, gradients());
    kernel.backward(
        stream, MoeBackward.of(binding, make(BF16, T, H), make(BF16, T, H), saved().z(null)));
    stream.synchronize();
    List<String> log = provider.device().log();
    assertTrue(log.contains("run moe.forward") && log.contains("run moe.backward"));
    assertEquals(kernel, binding.kernel());
  }

  @Test
  void moreSlotsThanI32NumbersAreRefused() {
    int experts = 1 << 17;
    kernel =
        device.prepare(
            MoeDispatchSpec.builder()
                .dataType(F32)
                .hidden(1)
                .intermediate(1)
                .experts(experts)
                .topK(experts)
                .localExperts(1)
                .router(RouterSpec.builder().build())
                .build());
    binding =
        kernel.bind(
            MoeWeights.of(make(F32, 1, 1, 1))
                .gateUp(make(F32, 1, 2, 1))
                .routerWeight(make(F32, experts, 1)));
    kernel.forward(stream, MoeForward.of(binding, make(F32, 16383, 1), make(F32, 16383, 1)));
    refused(
        () ->
            kernel.forward(
                stream, MoeForward.of(binding, make(F32, 16384, 1), make(F32, 16384, 1))),
        "moe.forward: x:",
        "at most 16383 tokens",
        "f32[16384, 1]");
  }

  @Test
  void bindRefusesWeightsThatDoNotFit() {
    refusedWeights(
        w -> w.gateUp(make(F16, LOCAL, I, H)), "moe.bind: gateUp:", "f16[3, 8, 8]", "f16[3, 4, 8]");
    refusedWeights(w -> w.gateUp(make(F16, E, 2 * I, H)), "gateUp:", "f16[6, 8, 8]");
    refusedWeights(w -> w.gateUpBias(make(F16, LOCAL, I)), "gateUpBias:", "f16[3, 8]");
    refusedWeights(w -> w.downBias(make(BF16, LOCAL, H)), "downBias:", "bf16");
    refusedWeights(w -> w.routerWeight(make(F16, E, H)), "routerWeight:", "f32[6, 8]", "f16[6, 8]");
    refusedWeights(w -> w.routerWeight(make(F32, LOCAL, H)), "routerWeight:", "f32[3, 8]");
    refusedWeights(w -> w.routerBias(make(F32, E, 1)), "routerBias:", "f32[6]");
    refusedWeights(w -> w.correctionBias(make(F16, E)), "correctionBias:", "f32[6]");
    refusedWeights(w -> w.sharedGateUp(make(F16, 2 * I, H)), "sharedGateUp:", "f16[10, 8]");
    refusedWeights(w -> w.sharedDown(make(F16, SHARED, H)), "sharedDown:", "f16[8, 5]");
    refusedWeights(w -> w.sharedGateWeight(make(F32, H)), "sharedGateWeight:", "f32[1, 8]");
    refusedWeights(
        w -> w.gateUp(make(F16, LOCAL, H, 2 * I).transpose(1, 2)), "gateUp (", "stride 1");
    MoeWeights wrong = weights();
    refused(
        () -> kernel.bind(MoeWeights.of(make(F16, LOCAL, I, H)).gateUp(wrong.gateUp())),
        "down:",
        "f16[3, 8, 4]",
        "f16[3, 4, 8]");
  }

  @Test
  void bindRefusesMissingAndSuperfluousWeights() {
    refusedWeights(w -> w.gateUp(null), "gateUp: the spec needs it");
    refusedWeights(w -> w.gate(make(F16, LOCAL, I, H)), "gate: the spec has none");
    refusedWeights(w -> w.up(make(F16, LOCAL, I, H)), "up: the spec has none");
    refusedWeights(w -> w.gateUpBias(null), "gateUpBias: the spec needs it");
    refusedWeights(w -> w.downBias(null), "downBias: the spec needs it");
    refusedWeights(w -> w.routerWeight(null), "routerWeight: the spec needs it");
    refusedWeights(w -> w.routerBias(null), "routerBias: the spec needs it");
    refusedWeights(w -> w.correctionBias(null), "correctionBias: the spec needs it");
    refusedWeights(w -> w.sharedGateUp(null), "sharedGateUp: the spec needs it");
    refusedWeights(w -> w.sharedDown(null), "sharedDown: the spec needs it");
    refusedWeights(w -> w.sharedGateWeight(null), "sharedGateWeight: the spec needs it");
    kernel =
        device.prepare(
            SPEC.toBuilder()
                .sharedGate(false)
                .sharedIntermediate(0)
                .expertBias(false)
                .router(RouterSpec.builder().source(RouterSpec.Source.LOGITS).build())
                .build());
    refusedWeights(w -> w, "gateUpBias: the spec has none");
    refusedWeights(w -> w.gateUpBias(null), "downBias: the spec has none");
    refusedWeights(w -> w.gateUpBias(null).downBias(null), "routerWeight: the spec has none");
    assertEquals(
        "down",
        assertThrows(NullPointerException.class, MoeArgumentsTest::withoutDown).getMessage());
  }

  @SuppressWarnings("NullAway") // on purpose
  private static void withoutDown() {
    MoeWeights.of(null);
  }

  @Test
  void separateAndUngatedLayoutsAskForOtherTensors() {
    kernel = device.prepare(SPEC.toBuilder().gateUpLayout(GateUpLayout.SEPARATE).build());
    refusedWeights(w -> w, "gateUp: the spec has none");
    refusedWeights(w -> w.gateUp(null), "gate: the spec needs it");
    refusedWeights(w -> w.gateUp(null).gate(make(F16, LOCAL, I, H)), "up: the spec needs it");
    binding =
        kernel.bind(weights().gateUp(null).gate(make(F16, LOCAL, I, H)).up(make(F16, LOCAL, I, H)));
    kernel.forward(stream, arguments());
    refusedBackward(b -> b, "dgateUp: there is no such weight");
    kernel.backward(
        stream,
        gradients().dgateUp(null).dgate(make(F32, LOCAL, I, H)).dup(make(F32, LOCAL, I, H)));
    kernel = device.prepare(SPEC.toBuilder().activation(ExpertActivation.RELU2).build());
    refusedWeights(w -> w, "gateUp:", "f16[3, 4, 8]");
    refusedWeights(w -> w.gateUp(make(F16, LOCAL, I, H)), "gateUpBias:", "f16[3, 4]");
  }

  @Test
  void forwardRefusesWrongShapesTypesAndRanks() {
    MoeForward a = arguments();
    refused(
        () -> kernel.forward(stream, MoeForward.of(binding, make(BF16, T, H + 1), a.y())),
        "moe.forward: x:",
        "bf16[7, 8]",
        "bf16[7, 9]");
    refused(
        () -> kernel.forward(stream, MoeForward.of(binding, make(BF16, H), a.y())),
        "x:",
        "[T, H]",
        "bf16[8]");
    refused(
        () -> kernel.forward(stream, MoeForward.of(binding, a.x(), make(F32, T, H))),
        "y:",
        "f32[7, 8]");
    refusedForward(b -> b.ids(make(I32, T, K + 1)), "ids:", "i32[7, 2]", "i32[7, 3]");
    refusedForward(b -> b.routingWeights(make(BF16, T, K)), "routingWeights:", "f32[7, 2]");
    refusedForward(b -> b.logits(make(F32, T, LOCAL)), "logits:", "f32[7, 6]");
    refusedForward(b -> b.counts(make(I32, LOCAL)), "counts:", "i32[6]", "i32[3]");
    refusedForward(b -> b.tokenCount(make(I32, 2)), "tokenCount:", "i32[1]", "i32[2]");
    refusedForward(b -> b.saved(saved().logits(null)), "saved.logits");
    refusedForward(b -> b.saved(saved().z(make(BF16, T, 2 * I))), "saved.z:", "bf16[14, 8]");
    refusedForward(b -> b.saved(saved().z(make(F32, T * K, 2 * I))), "saved.z:", "f32");
    refusedForward(
        b -> b.saved(MoeSaved.of(make(I32, T, K), make(F32, T, K), make(I32, T))),
        "saved.permutation:",
        "i32[14]",
        "i32[7]");
    refusedForward(b -> b.ids(make(I32, T, 2 * K).slice(1, 0, K).transpose(0, 1)), "ids:");
    refusedForward(
        b -> b.logits(make(F32, E, T).transpose(0, 1)), "logits (f32[7, 6])", "stride 1");
  }

  @Test
  void theRoutersSourceDecidesWhatIsGiven() {
    refusedForward(b -> b.givenLogits(make(F32, T, E)), "givenLogits", "ROUTER");
    refusedForward(b -> b.givenIds(make(I32, T, K)), "givenIds and givenWeights", "ROUTER");
    prepare(
        SPEC.toBuilder()
            .router(RouterSpec.builder().source(RouterSpec.Source.LOGITS).build())
            .build(),
        w -> w.routerWeight(null).routerBias(null).correctionBias(null));
    refusedForward(b -> b, "givenLogits", "LOGITS", "null");
    refusedForward(b -> b.givenLogits(make(BF16, T, E)), "givenLogits:", "f32[7, 6]");
    kernel.forward(stream, arguments().givenLogits(make(F32, T, E)));
    refusedBackward(b -> b, "drouterWeight: there is no such weight");
    refusedBackward(
        b -> b.drouterWeight(null).drouterBias(null).dgivenWeights(make(F32, T, K)),
        "dgivenWeights");
    kernel.backward(stream, gradients().drouterWeight(null).drouterBias(null));
    prepare(
        SPEC.toBuilder()
            .router(RouterSpec.builder().source(RouterSpec.Source.GIVEN).build())
            .build(),
        w -> w.routerWeight(null).routerBias(null).correctionBias(null));
    UnaryOperator<MoeForward> given =
        b -> b.givenIds(make(I32, T, K)).givenWeights(make(F32, T, K));
    UnaryOperator<MoeForward> quiet =
        b -> given.apply(b).ids(null).routingWeights(null).logits(null).saved(saved().logits(null));
    refusedForward(b -> b.givenIds(make(I32, T, K)), "givenIds and givenWeights");
    refusedForward(given, "ids, routingWeights and logits", "given");
    refusedForward(b -> quiet.apply(b).saved(saved()), "saved.logits", "GIVEN");
    refusedForward(b -> quiet.apply(b).givenIds(make(I32, T, E)), "givenIds:", "i32[7, 2]");
    kernel.forward(stream, quiet.apply(arguments()));
    refusedBackward(b -> b.drouterWeight(null).drouterBias(null), "auxiliaryDlogits and dlogits");
    MoeBackward backward =
        MoeBackward.of(binding, make(BF16, T, H), make(BF16, T, H), saved().logits(null));
    kernel.backward(stream, backward.dgivenWeights(make(F32, T, K)));
  }

  @Test
  void backwardRefusesWrongShapesAndTypes() {
    MoeBackward a = gradients();
    refused(
        () -> kernel.backward(stream, MoeBackward.of(binding, a.x(), make(F32, T, H), saved())),
        "moe.backward: dy:",
        "bf16[7, 8]");
    refusedBackward(b -> b.dx(make(F32, T, H)), "dx:", "bf16[7, 8]");
    refusedBackward(b -> b.auxiliaryDlogits(make(F32, T, K)), "auxiliaryDlogits:", "f32[7, 6]");
    refusedBackward(b -> b.dlogits(make(BF16, T, E)), "dlogits:", "f32[7, 6]");
    refusedBackward(b -> b.dgivenWeights(make(F32, T, K)), "dgivenWeights");
    refusedBackward(b -> b.drouterWeight(make(F32, LOCAL, H)), "drouterWeight:", "f32[6, 8]");
    refusedBackward(b -> b.drouterBias(make(F32, H)), "drouterBias:");
    refusedBackward(b -> b.dgateUp(make(F16, LOCAL, 2 * I, H)), "dgateUp:", "f32[3, 8, 8]", "f16");
    refusedBackward(b -> b.dgate(make(F32, LOCAL, I, H)), "dgate: there is no such weight");
    refusedBackward(b -> b.dup(make(F32, LOCAL, I, H)), "dup: there is no such weight");
    refusedBackward(b -> b.ddown(make(F32, E, H, I)), "ddown:", "f32[3, 8, 4]");
    refusedBackward(b -> b.dgateUpBias(make(F32, LOCAL, I)), "dgateUpBias:");
    refusedBackward(b -> b.ddownBias(make(F32, LOCAL, I)), "ddownBias:");
    refusedBackward(b -> b.dsharedGateUp(make(F32, SHARED, H)), "dsharedGateUp:");
    refusedBackward(b -> b.dsharedDown(make(F32, SHARED, H)), "dsharedDown:");
    refusedBackward(b -> b.dsharedGateWeight(make(F32, H)), "dsharedGateWeight:");
    refused(
        () ->
            kernel.backward(
                stream,
                MoeBackward.of(
                    binding,
                    a.x(),
                    a.dy(),
                    MoeSaved.of(make(I32, T, K), make(F32, T, E), make(I32, T * K)))),
        "saved.routingWeights:",
        "f32[7, 2]",
        "f32[7, 6]");
  }

  @Test
  void whatIsWrittenOverlapsNothing() {
    MoeForward a = arguments();
    refused(
        () -> kernel.forward(stream, MoeForward.of(binding, a.x(), a.x())),
        "y (",
        "x (",
        "overlap");
    Tensor ids = make(I32, T, K);
    refusedForward(
        b ->
            b.ids(ids)
                .saved(MoeSaved.of(ids, make(F32, T, K), make(I32, T * K)).logits(make(F32, T, E))),
        "saved.ids (",
        "ids (");
    Tensor packed = make(F32, T, E + K);
    kernel.forward(
        stream,
        arguments().logits(packed.slice(1, 0, E)).routingWeights(packed.slice(1, E, E + K)));
    Tensor drouter = make(F32, E, H);
    refusedBackward(
        c -> c.drouterWeight(drouter).drouterBias(drouter.select(0, 0).slice(0, 0, E)),
        "drouterBias (",
        "drouterWeight (");
    Tensor router = binding.weights().routerWeight();
    refusedBackward(c -> c.drouterWeight(router), "drouterWeight (", "routerWeight (", "overlap");
  }

  @Test
  void onlyPreparedModesAreLaunched() {
    prepare(SPEC.toBuilder().modes(MoeDispatchSpec.Mode.FORWARD).build(), w -> w);
    kernel.forward(stream, arguments().saved(null));
    refusedForward(b -> b, "saved", "[FORWARD] only", "add BACKWARD");
    refusedBackward(b -> b, "moe.backward", "add BACKWARD");
  }

  @Test
  void weightsOfAnotherKernelAreRefused() {
    MoeDispatch other = device.prepare(SPEC);
    MoeForward arguments = arguments();
    refused(() -> other.forward(stream, arguments), "weights: bound to another kernel");
  }

  @Test
  void noTokensAreLegal() {
    kernel.forward(
        stream, MoeForward.of(binding, make(BF16, 0, H), make(BF16, 0, H)).ids(make(I32, 0, K)));
  }

  @Test
  void validationReadsCountsAndIds() {
    device.close();
    device = provider.open(DeviceOptions.builder().validate(true).build());
    stream = device.defaultStream();
    kernel = device.prepare(SPEC);
    binding = kernel.bind(weights());
    kernel.forward(stream, arguments());
    kernel.backward(stream, gradients());
    refusedForward(b -> b.tokenCount(ints(new long[] {1}, T + 1)), "tokenCount", "0..7", "8");
    refusedBackward(b -> b.tokenCount(ints(new long[] {1}, -1)), "tokenCount", "0..7", "-1");
    prepare(
        SPEC.toBuilder()
            .router(RouterSpec.builder().source(RouterSpec.Source.GIVEN).build())
            .build(),
        w -> w.routerWeight(null).routerBias(null).correctionBias(null));
    int[] ids = {0, 1, 2, 3, 4, 5, -1, -1, 0, 0, 1, 1, 2, 6};
    UnaryOperator<MoeForward> given =
        b ->
            b.givenIds(ints(new long[] {T, K}, ids))
                .givenWeights(make(F32, T, K))
                .ids(null)
                .routingWeights(null)
                .logits(null)
                .saved(null);
    refusedForward(given, "givenIds", "element 13", "0..5", "-1 for none", "6");
    ids[13] = 5;
    kernel.forward(stream, given.apply(arguments()));
  }
}
