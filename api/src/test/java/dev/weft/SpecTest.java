package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;

/** Canonical texts are stable: reports, test ids and seeds derive from them. */
class SpecTest {
  private static MobaAttentionSpec.Builder moba() {
    return MobaAttentionSpec.builder().heads(32).headDim(128).blockSize(512).topK(8);
  }

  private static MobaAttentionSpec.Builder mobaWithEverything() {
    return moba()
        .dataType(DataType.F16)
        .kvHeads(8)
        .valueDim(64)
        .scale(0.5f)
        .pageSize(64)
        .math(MathMode.FAST)
        .repeatableBackward(false)
        .workspaceLimit(1 << 20)
        .modes(
            MobaAttentionSpec.Mode.PAGED,
            MobaAttentionSpec.Mode.BACKWARD,
            MobaAttentionSpec.Mode.FORWARD);
  }

  private static MoeDispatchSpec.Builder moe() {
    return MoeDispatchSpec.builder().hidden(64).intermediate(32).experts(8).topK(2);
  }

  private static MoeDispatchSpec.Builder moeWithEverything() {
    return moe()
        .dataType(DataType.F16)
        .weightType(DataType.BF16)
        .routerType(DataType.F32)
        .router(
            RouterSpec.builder()
                .score(RouterSpec.Score.SIGMOID)
                .routerBias(true)
                .correctionBias(true)
                .groups(4, 2, RouterSpec.GroupScore.TOP2_SUM)
                .normalize(RouterSpec.Normalize.SUM)
                .epsilon(1e-20f)
                .scalingFactor(2.5f)
                .build())
        .activation(ExpertActivation.SWIGLU_CLAMPED)
        .swigluAlpha(1.5f)
        .swigluLimit(5)
        .gateUpLayout(GateUpLayout.INTERLEAVED)
        .expertBias(true)
        .sharedIntermediate(16)
        .sharedGate(true)
        .firstExpert(2)
        .localExperts(4)
        .packedCopy(true)
        .math(MathMode.FAST)
        .repeatableBackward(false)
        .workspaceLimit(4096)
        .modes(MoeDispatchSpec.Mode.FORWARD, MoeDispatchSpec.Mode.BACKWARD);
  }

  private static CausalConv1dSpec.Builder conv() {
    return CausalConv1dSpec.builder().channels(16).width(4);
  }

  private static CausalConv1dSpec.Builder convWithEverything() {
    return conv()
        .dataType(DataType.F16)
        .weightType(DataType.F32)
        .stateType(DataType.BF16)
        .gradientType(DataType.F32)
        .bias(true)
        .activation(Activation.NONE)
        .padSlotId(-7)
        .repeatableBackward(false)
        .workspaceLimit(4096)
        .modes(CausalConv1dSpec.Mode.UPDATE, CausalConv1dSpec.Mode.FORWARD);
  }

  @Test
  void textsOfMobaAreCanonical() {
    assertEquals(
        "moba.attention[type=bf16,heads=32,headDim=128,blockSize=512,topK=8,modes=forward]",
        moba().build().text());
    assertEquals(
        "moba.attention[type=f16,heads=32,kvHeads=8,headDim=128,valueDim=64,blockSize=512,topK=8,"
            + "scale=0.5,pageSize=64,math=fast,repeatableBackward=false,workspaceLimit=1048576,"
            + "modes=forward+backward+paged]",
        mobaWithEverything().build().toString());
  }

  @Test
  void textsOfMoeAreCanonical() {
    assertEquals(
        "moe.dispatch[type=bf16,hidden=64,intermediate=32,experts=8,topK=2,"
            + "router={router/softmax},activation=swiglu,modes=forward]",
        moe().build().text());
    assertEquals(
        "moe.dispatch[type=f16,weightType=bf16,routerType=f32,hidden=64,intermediate=32,experts=8,"
            + "topK=2,router={router/sigmoid/bias/correction/groups:2of4:top2_sum/sum:1.0E-20/"
            + "x2.5},activation=swiglu_clamped,swigluAlpha=1.5,swigluLimit=5.0,"
            + "gateUpLayout=interleaved,expertBias=true,sharedIntermediate=16,sharedGate=true,"
            + "firstExpert=2,localExperts=4,packedCopy=true,math=fast,repeatableBackward=false,"
            + "workspaceLimit=4096,modes=forward+backward]",
        moeWithEverything().build().text());
  }

  @Test
  void textsOfConvAreCanonical() {
    assertEquals(
        "conv1d.causal[type=bf16,channels=16,width=4,activation=silu,modes=forward]",
        conv().build().text());
    assertEquals(
        "conv1d.causal[type=f16,weightType=f32,stateType=bf16,channels=16,width=4,bias=true,"
            + "activation=none,padSlotId=-7,repeatableBackward=false,workspaceLimit=4096,"
            + "modes=forward+update]",
        convWithEverything().build().text());
  }

  @Test
  void equalityIsThatOfTheTexts() {
    assertEquals(moba().build(), moba().kvHeads(32).valueDim(128).build());
    assertEquals(
        moba().build().hashCode(), moba().scale((float) (1 / Math.sqrt(128))).build().hashCode());
    assertNotEquals(moba().build(), moba().topK(9).build());
    assertEquals(moe().build(), moe().weightType(DataType.BF16).localExperts(8).build());
    assertEquals(conv().build(), conv().stateType(DataType.BF16).build());
    assertNotEquals((Object) conv().build(), moba().build());
  }

  @Test
  void toBuilderGoesRound() {
    assertEquals(moba().build(), moba().build().toBuilder().build());
    assertEquals(mobaWithEverything().build(), mobaWithEverything().build().toBuilder().build());
    assertEquals(moe().build(), moe().build().toBuilder().build());
    assertEquals(moeWithEverything().build(), moeWithEverything().build().toBuilder().build());
    assertEquals(conv().build(), conv().build().toBuilder().build());
    assertEquals(convWithEverything().build(), convWithEverything().build().toBuilder().build());
  }

  @Test
  void toBuilderLeavesDefaultsOpen() {
    assertEquals(
        moba().headDim(64).heads(16).build(),
        moba().build().toBuilder().headDim(64).heads(16).build());
    assertEquals(
        moe().dataType(DataType.F32).experts(16).build(),
        moe().build().toBuilder().dataType(DataType.F32).experts(16).build());
    assertEquals(
        conv().dataType(DataType.F32).build(),
        conv().build().toBuilder().dataType(DataType.F32).build());
  }

  @Test
  void defaultsAreDerived() {
    MobaAttentionSpec spec = moba().build();
    assertEquals(32, spec.kvHeads());
    assertEquals(128, spec.valueDim());
    assertEquals((float) (1 / Math.sqrt(128)), spec.scale());
    assertEquals(Set.of(MobaAttentionSpec.Mode.FORWARD), spec.modes());
    assertEquals(0f, moba().scale(0).build().scale(), "a scale of 0 is one");
    assertEquals(
        4,
        moba()
            .blockSize(64)
            .pageSize(256)
            .modes(MobaAttentionSpec.Mode.PAGED)
            .build()
            .meansPerPage());
    MoeDispatchSpec gated = moe().build();
    assertEquals(64, gated.projected());
    assertEquals(32, moe().activation(ExpertActivation.RELU2).build().projected());
    assertEquals(6, moe().firstExpert(2).build().localExperts());
  }

  @Test
  void aRouterOfGivenRoutingHasNoOtherOptions() {
    RouterSpec given =
        RouterSpec.builder()
            .source(RouterSpec.Source.GIVEN)
            .score(RouterSpec.Score.SIGMOID)
            .scalingFactor(3)
            .correctionBias(true)
            .build();
    assertEquals("{given}", given.toString());
    assertEquals(RouterSpec.builder().source(RouterSpec.Source.GIVEN).build(), given);
    assertEquals(1, given.scalingFactor());
    assertEquals(false, given.correctionBias());
  }

  private static void refusedMoba(
      UnaryOperator<MobaAttentionSpec.Builder> change, String... parts) {
    assertMentions(
        assertThrows(IllegalArgumentException.class, () -> change.apply(moba()).build()), parts);
  }

  @Test
  void invalidOptionsOfMobaAreRefused() {
    refusedMoba(b -> b.heads(0), "heads", "0");
    refusedMoba(b -> b.kvHeads(-1), "kvHeads", "-1");
    refusedMoba(b -> b.kvHeads(5), "heads", "multiple of kvHeads=5", "32");
    refusedMoba(b -> b.kvHeads(64), "kvHeads=64");
    refusedMoba(b -> b.headDim(0), "headDim");
    refusedMoba(b -> b.valueDim(-4), "valueDim");
    refusedMoba(b -> b.blockSize(0), "blockSize");
    refusedMoba(b -> b.topK(0), "topK");
    refusedMoba(b -> b.scale(Float.NaN), "scale");
    refusedMoba(b -> b.scale(Float.POSITIVE_INFINITY), "scale");
    refusedMoba(b -> b.dataType(DataType.I32), "dataType", "i32");
    refusedMoba(b -> b.pageSize(64), "pageSize", "PAGED");
    refusedMoba(b -> b.modes(MobaAttentionSpec.Mode.PAGED), "pageSize");
    refusedMoba(b -> b.modes(MobaAttentionSpec.Mode.PAGED).pageSize(96), "pageSize", "512", "96");
    refusedMoba(b -> b.workspaceLimit(0), "workspaceLimit");
  }

  private static void refusedMoe(UnaryOperator<MoeDispatchSpec.Builder> change, String... parts) {
    assertMentions(
        assertThrows(IllegalArgumentException.class, () -> change.apply(moe()).build()), parts);
  }

  @Test
  void invalidOptionsOfMoeAreRefused() {
    refusedMoe(b -> b.hidden(0), "hidden");
    refusedMoe(b -> b.intermediate(0), "intermediate");
    refusedMoe(b -> b.intermediate(Integer.MAX_VALUE), "intermediate");
    refusedMoe(b -> b.experts(0), "experts");
    refusedMoe(b -> b.topK(0), "topK");
    refusedMoe(b -> b.topK(9), "topK", "experts=8");
    refusedMoe(b -> b.dataType(DataType.U8), "types", "u8");
    refusedMoe(b -> b.gradientType(DataType.F16), "gradientType", "f16");
    refusedMoe(
        b -> b.router(RouterSpec.builder().groups(3, 1, RouterSpec.GroupScore.BEST).build()),
        "router.groups",
        "experts=8",
        "3");
    refusedMoe(b -> b.firstExpert(-1), "firstExpert");
    refusedMoe(b -> b.firstExpert(8), "firstExpert, localExperts");
    refusedMoe(b -> b.firstExpert(5).localExperts(4), "0..8", "5, 4");
    refusedMoe(b -> b.firstExpert(1).localExperts(Integer.MAX_VALUE), "firstExpert, localExperts");
    refusedMoe(b -> b.localExperts(-2), "-2");
    refusedMoe(b -> b.sharedIntermediate(-1), "sharedIntermediate");
    refusedMoe(b -> b.sharedGate(true), "sharedGate");
    refusedMoe(
        b -> b.activation(ExpertActivation.RELU2).gateUpLayout(GateUpLayout.SEPARATE),
        "gateUpLayout",
        "RELU2");
    refusedMoe(b -> b.swigluAlpha(Float.NaN), "swigluAlpha");
    refusedMoe(b -> b.swigluLimit(-1), "swigluLimit");
    refusedMoe(b -> b.swigluLimit(Float.NaN), "swigluLimit");
    refusedMoe(b -> b.workspaceLimit(-1), "workspaceLimit");
  }

  private static void refusedRouter(UnaryOperator<RouterSpec.Builder> change, String part) {
    assertMentions(
        assertThrows(
            IllegalArgumentException.class, () -> change.apply(RouterSpec.builder()).build()),
        part);
  }

  @Test
  void invalidOptionsOfRoutersAreRefused() {
    refusedRouter(b -> b.groups(0, 0, RouterSpec.GroupScore.BEST), "groups=0");
    refusedRouter(b -> b.groups(4, 5, RouterSpec.GroupScore.BEST), "topkGroups=5");
    refusedRouter(b -> b.groups(4, 0, RouterSpec.GroupScore.BEST), "topkGroups=0");
    refusedRouter(b -> b.scalingFactor(Float.NaN), "scalingFactor");
    refusedRouter(b -> b.epsilon(-1), "epsilon");
    refusedRouter(b -> b.epsilon(Float.POSITIVE_INFINITY), "epsilon");
    refusedRouter(b -> b.routerBias(true).source(RouterSpec.Source.LOGITS), "routerBias");
    refusedRouter(b -> b.routerBias(true).source(RouterSpec.Source.GIVEN), "routerBias");
  }

  private static void refusedConv(UnaryOperator<CausalConv1dSpec.Builder> change, String... parts) {
    assertMentions(
        assertThrows(IllegalArgumentException.class, () -> change.apply(conv()).build()), parts);
  }

  @Test
  void invalidOptionsOfConvAreRefused() {
    refusedConv(b -> b.channels(0), "channels");
    refusedConv(b -> b.width(1), "width", "at least 2");
    refusedConv(b -> b.dataType(DataType.I32), "types", "i32");
    refusedConv(b -> b.stateType(DataType.U8), "types", "u8");
    refusedConv(b -> b.gradientType(DataType.F16), "gradientType", "f16");
    refusedConv(b -> b.workspaceLimit(0), "workspaceLimit");
  }

  @Test
  void invalidDeviceOptionsAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> DeviceOptions.builder().memoryLimit(-1));
    assertThrows(IllegalArgumentException.class, () -> DeviceOptions.builder().threads(-1));
    DeviceOptions options =
        DeviceOptions.builder().threads(3).validate(true).property("a.b", "c").build();
    assertEquals(3, options.threads());
    assertEquals("c", options.properties().get("a.b"));
    assertThrows(UnsupportedOperationException.class, () -> options.properties().put("x", "y"));
  }
}
