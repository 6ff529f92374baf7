package dev.weft.moba;

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
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Attention is launched with tensors that fit, or refused before anything is enqueued. */
class MobaArgumentsTest {
  private static final MobaAttentionSpec SPEC =
      MobaAttentionSpec.builder()
          .dataType(BF16)
          .heads(4)
          .kvHeads(2)
          .headDim(16)
          .valueDim(8)
          .blockSize(4)
          .topK(3)
          .pageSize(8)
          .modes(
              MobaAttentionSpec.Mode.FORWARD,
              MobaAttentionSpec.Mode.BACKWARD,
              MobaAttentionSpec.Mode.PAGED)
          .build();
  private static final int T = 20;
  private static final int B = 2;

  private final FakeProvider provider = new FakeProvider();
  private Device device = provider.open();
  private Stream stream = device.defaultStream();
  private MobaAttention kernel = device.prepare(SPEC);
  private Tensors t = new Tensors();

  /** All that any launch takes; a test replaces one of them. */
  private final class Tensors {
    @Nullable Tensor q = device.allocate(BF16, T, 4, 16);
    @Nullable Tensor k = device.allocate(BF16, T, 2, 16);
    @Nullable Tensor v = device.allocate(BF16, T, 2, 8);
    @Nullable Tensor cuSeqlens = device.upload(HostTensor.ofInts(new int[] {0, 5, 20}, B + 1));
    @Nullable Tensor out = device.allocate(BF16, T, 4, 8);
    @Nullable Tensor lse = device.allocate(F32, T, 4);
    @Nullable Tensor selection = device.allocate(I32, T, 4, 2);
    @Nullable Tensor dout = device.allocate(BF16, T, 4, 8);
    @Nullable Tensor dq = device.allocate(BF16, T, 4, 16);
    @Nullable Tensor dk = device.allocate(BF16, T, 2, 16);
    @Nullable Tensor dv = device.allocate(BF16, T, 2, 8);
    @Nullable Tensor cacheLens = device.upload(HostTensor.ofInts(new int[] {5, 15}, B));
    @Nullable Tensor pageTable =
        device.upload(HostTensor.ofInts(new int[] {0, -1, -1, 2, 1, -1}, B, 3));
    @Nullable Tensor keyCache = device.allocate(BF16, 5, 8, 2, 16);
    @Nullable Tensor valueCache = device.allocate(BF16, 5, 8, 2, 8);
    @Nullable Tensor blockMeans = device.allocate(BF16, 5, 2, 2, 16);
  }

  @AfterEach
  void theApiUsedTheBackendWell() {
    device.close();
    assertEquals(List.of(), provider.device().violations());
  }

  @SuppressWarnings("NullAway") // a required tensor may be missing on purpose
  private void forward() {
    kernel.forward(
        stream,
        MobaForward.of(t.q, t.k, t.v, t.cuSeqlens, t.out).lse(t.lse).selection(t.selection));
  }

  @SuppressWarnings("NullAway")
  private void backward() {
    kernel.backward(
        stream,
        MobaBackward.of(t.q, t.k, t.v, t.cuSeqlens, t.out, t.lse, t.dout)
            .selection(t.selection)
            .dq(t.dq)
            .dk(t.dk)
            .dv(t.dv));
  }

  @SuppressWarnings("NullAway")
  private void append() {
    kernel.append(
        stream,
        MobaAppend.of(
            t.k,
            t.v,
            t.cuSeqlens,
            t.cacheLens,
            t.pageTable,
            t.keyCache,
            t.valueCache,
            t.blockMeans));
  }

  @SuppressWarnings("NullAway")
  private void paged() {
    kernel.paged(
        stream,
        MobaPaged.of(
                t.q,
                t.cuSeqlens,
                t.cacheLens,
                t.pageTable,
                t.keyCache,
                t.valueCache,
                t.blockMeans,
                t.out)
            .lse(t.lse)
            .selection(t.selection));
  }

  private Tensor make(DataType type, long... shape) {
    return device.allocate(type, shape);
  }

  /** Replaces tensors, expects a refusal that says the parts, and puts fitting ones back. */
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
    backward();
    append();
    paged();
    t.lse = null;
    t.selection = null;
    forward();
    paged();
    stream.synchronize();
    List<String> log = provider.device().log();
    for (String launch : List.of("moba.forward", "moba.backward", "moba.append", "moba.paged")) {
      assertTrue(log.contains("run " + launch), log.toString());
    }
  }

  @Test
  void forwardRefusesWrongShapesTypesAndRanks() {
    refused(
        () -> t.q = make(BF16, T, 4, 8),
        this::forward,
        "moba.forward: q:",
        "bf16[20, 4, 16]",
        "bf16[20, 4, 8]");
    refused(() -> t.q = make(F16, T, 4, 16), this::forward, "q:", "bf16", "f16[20, 4, 16]");
    refused(() -> t.q = make(BF16, T, 64), this::forward, "q:", "3 dimensions", "bf16[20, 64]");
    refused(() -> t.k = make(BF16, T, 4, 16), this::forward, "k:", "bf16[20, 2, 16]");
    refused(() -> t.k = make(BF16, T - 1, 2, 16), this::forward, "k:", "bf16[19, 2, 16]");
    refused(() -> t.v = make(BF16, T, 2, 16), this::forward, "v:", "bf16[20, 2, 8]");
    refused(() -> t.cuSeqlens = make(F32, 3), this::forward, "cuSeqlens:", "i32[3]", "f32[3]");
    refused(() -> t.cuSeqlens = make(I32, 0), this::forward, "cuSeqlens:", "i32[B+1]", "i32[0]");
    refused(() -> t.cuSeqlens = make(I32, 3, 1), this::forward, "cuSeqlens:", "i32[3, 1]");
    refused(() -> t.out = make(F32, T, 4, 8), this::forward, "out:", "f32[20, 4, 8]");
    refused(() -> t.out = make(BF16, T + 1, 4, 8), this::forward, "out:", "bf16[21, 4, 8]");
    refused(() -> t.lse = make(BF16, T, 4), this::forward, "lse:", "f32[20, 4]", "bf16[20, 4]");
    refused(() -> t.selection = make(I32, T, 4, 3), this::forward, "selection:", "i32[20, 4, 2]");
  }

  @Test
  void missingTensorsAreNamed() {
    missing(() -> t.q = null, this::forward, "q");
    missing(() -> t.k = null, this::forward, "k");
    missing(() -> t.v = null, this::forward, "v");
    missing(() -> t.cuSeqlens = null, this::forward, "cuSeqlens");
    missing(() -> t.out = null, this::forward, "out");
    missing(() -> t.lse = null, this::backward, "lse");
    missing(() -> t.dout = null, this::backward, "dout");
    missing(() -> t.pageTable = null, this::append, "pageTable");
    missing(() -> t.keyCache = null, this::append, "keyCache");
    missing(() -> t.cacheLens = null, this::paged, "cacheLens");
    missing(() -> t.blockMeans = null, this::paged, "blockMeans");
  }

  @Test
  void theInnermostStrideMustBeOneAndAllOthersAreFree() {
    refused(
        () -> t.q = make(BF16, T, 16, 4).transpose(1, 2),
        this::forward,
        "q (bf16[20, 4, 16])",
        "stride 1 in the last dimension",
        "[64, 1, 4]");
    refused(
        () -> t.out = make(BF16, T, 4, 16).reshape(T, 4, 8, 2).select(3, 0),
        this::forward,
        "out (");
    refused(() -> t.cuSeqlens = make(I32, 3, 2).select(1, 0), this::forward, "cuSeqlens (");
    Tensor packed = make(BF16, T, 3, 4, 16);
    t.q = packed.select(1, 0);
    t.k = packed.select(1, 1).slice(1, 0, 2);
    t.v = packed.select(1, 2).slice(1, 0, 2).slice(2, 0, 8);
    t.out = packed.select(1, 2).slice(1, 2, 4).reshape(T, 2, 2, 8).reshape(T, 4, 8);
    forward();
    t.q = make(BF16, 4, T, 16).transpose(0, 1); // heads first
    forward();
  }

  @Test
  void whatIsWrittenOverlapsNothing() {
    refused(
        () -> t.out = make(BF16, T, 4, 8),
        () -> {
          t.v = t.out == null ? null : t.out.slice(1, 0, 2);
          forward();
        },
        "moba.forward",
        "out (bf16[20, 4, 8])",
        "v (bf16[20, 2, 8])",
        "overlap");
    Tensor both = make(BF16, T, 2, 24);
    refused(
        () -> {
          t.dk = both.slice(2, 0, 16);
          t.dv = both.slice(2, 15, 23);
        },
        this::backward,
        "dk (",
        "dv (",
        "overlap");
    t.dk = both.slice(2, 0, 16);
    t.dv = both.slice(2, 16, 24);
    backward();
    t.k = t.q == null ? null : t.q.slice(1, 0, 2); // what is only read may overlap
    forward();
  }

  @Test
  void noTokensNoSequencesAndNoSelectionAreLegal() {
    t.q = make(BF16, 0, 4, 16);
    t.k = make(BF16, 0, 2, 16);
    t.v = make(BF16, 0, 2, 8);
    t.cuSeqlens = make(I32, 1);
    t.out = make(BF16, 0, 4, 8);
    t.lse = make(F32, 0, 4);
    t.selection = make(I32, 0, 4, 2);
    forward();
    MobaAttentionSpec own = SPEC.toBuilder().topK(1).build();
    kernel = device.prepare(own);
    t = new Tensors();
    t.selection = make(I32, T, 4, 0);
    forward();
    t.selection = null;
    backward();
  }

  @Test
  void backwardRefusesWhatForwardDidNotWrite() {
    refused(() -> t.out = make(F32, T, 4, 8), this::backward, "moba.backward: out:");
    refused(() -> t.lse = make(F32, T, 2), this::backward, "lse:", "f32[20, 4]");
    refused(() -> t.dout = make(BF16, T, 4, 16), this::backward, "dout:", "bf16[20, 4, 8]");
    refused(() -> t.dq = make(F32, T, 4, 16), this::backward, "dq:", "bf16[20, 4, 16]");
    refused(() -> t.dk = make(BF16, T, 4, 16), this::backward, "dk:", "bf16[20, 2, 16]");
    refused(() -> t.dv = make(BF16, T, 2, 16), this::backward, "dv:", "bf16[20, 2, 8]");
    refused(() -> t.selection = make(I32, T, 4, 1), this::backward, "selection:");
    refused(() -> t.selection = null, this::backward, "selection:", "20 tokens", "topK=3");
    t.dq = null;
    t.dk = null;
    t.dv = null;
    backward();
  }

  @Test
  void backwardNeedsNoSelectionWhereAllBlocksAreTaken() {
    t.q = make(BF16, 12, 4, 16);
    t.k = make(BF16, 12, 2, 16);
    t.v = make(BF16, 12, 2, 8);
    t.out = make(BF16, 12, 4, 8);
    t.lse = make(F32, 12, 4);
    t.dout = make(BF16, 12, 4, 8);
    t.dq = null;
    t.dk = null;
    t.dv = make(BF16, 12, 2, 8);
    t.selection = null;
    backward();
  }

  @Test
  void thePagedFormRefusesCachesThatDoNotFit() {
    for (Runnable launch : List.<Runnable>of(this::append, this::paged)) {
      refused(() -> t.cacheLens = make(I32, B + 1), launch, "cacheLens:", "i32[2]", "i32[3]");
      refused(() -> t.pageTable = make(I32, B + 1, 3), launch, "pageTable:", "i32[2, *]");
      refused(() -> t.pageTable = make(I32, 6), launch, "pageTable:", "i32[6]");
      refused(() -> t.keyCache = make(BF16, 5, 4, 2, 16), launch, "keyCache:", "bf16[5, 8, 2, 16]");
      refused(() -> t.keyCache = make(BF16, 5, 8, 32), launch, "keyCache:", "4 dimensions");
      refused(
          () -> t.valueCache = make(BF16, 4, 8, 2, 8), launch, "valueCache:", "bf16[5, 8, 2, 8]");
      refused(() -> t.valueCache = make(BF16, 5, 8, 2, 16), launch, "valueCache:");
      refused(
          () -> t.blockMeans = make(BF16, 5, 1, 2, 16), launch, "blockMeans:", "bf16[5, 2, 2, 16]");
      refused(() -> t.blockMeans = make(F32, 5, 2, 2, 16), launch, "blockMeans:", "f32");
    }
    refused(() -> t.k = make(BF16, T, 32), this::append, "moba.append: k:", "3 dimensions");
    refused(() -> t.v = make(BF16, T, 2, 16), this::append, "v:");
    refused(() -> t.q = make(BF16, T, 2, 16), this::paged, "moba.paged: q:");
    refused(() -> t.out = make(BF16, T, 4, 16), this::paged, "out:");
  }

  @Test
  void cachesMayBePartsOfOneTensorButNotOverlap() {
    Tensor caches = make(BF16, 5, 2, 8, 2, 16);
    t.keyCache = caches.select(1, 0);
    t.valueCache = caches.select(1, 1).slice(3, 0, 8);
    append();
    paged();
    refused(
        () -> {
          t.keyCache = caches.select(1, 0);
          t.valueCache = caches.select(1, 0).slice(3, 0, 8);
        },
        this::append,
        "keyCache (",
        "valueCache (",
        "overlap");
    refused(() -> t.out = t.q == null ? null : t.q.slice(2, 0, 8), this::paged, "out (", "q (");
  }

  @Test
  void onlyPreparedModesAreLaunched() {
    kernel =
        device.prepare(SPEC.toBuilder().pageSize(0).modes(MobaAttentionSpec.Mode.FORWARD).build());
    forward();
    refused(() -> {}, this::backward, "moba.backward", "[FORWARD] only", "add BACKWARD");
    refused(() -> {}, this::append, "moba.append", "add PAGED");
    refused(() -> {}, this::paged, "moba.paged", "add PAGED");
  }

  private void validating() {
    device.close();
    device = provider.open(DeviceOptions.builder().validate(true).build());
    stream = device.defaultStream();
    kernel = device.prepare(SPEC);
    t = new Tensors();
  }

  private Tensor ints(long[] shape, int... values) {
    return device.upload(HostTensor.ofInts(values, shape));
  }

  @Test
  void validationReadsLengthsAndPages() {
    validating();
    forward();
    backward();
    long[] three = {3};
    refused(() -> t.cuSeqlens = ints(three, 1, 5, 20), this::forward, "cuSeqlens[0]", "0", "1");
    refused(
        () -> t.cuSeqlens = ints(three, 0, 5, 4),
        this::backward,
        "cuSeqlens[2]",
        "at least 5",
        "4");
    refused(
        () -> t.cuSeqlens = ints(three, 0, 5, 21),
        this::forward,
        "cuSeqlens[2]",
        "at most 20",
        "21");
    t.cacheLens = ints(new long[] {2}, 5, 15);
    append();
    paged();
    long[] two = {2};
    refused(() -> t.cuSeqlens = ints(three, 0, -1, 5), this::append, "cuSeqlens[1]");
    refused(
        () -> t.cacheLens = ints(two, 4, 15), this::append, "cacheLens[0]", "5 new tokens", "4");
    refused(
        () -> t.cacheLens = ints(two, 5, 25),
        this::paged,
        "pageTable",
        "sequence 1",
        "4 pages",
        "3 columns");
    refused(
        () -> t.pageTable = ints(new long[] {2, 3}, 0, 0, 0, 2, 5, 0),
        this::paged,
        "pageTable[1, 1]",
        "0..4",
        "5");
    refused(
        () -> t.pageTable = ints(new long[] {2, 3}, -1, 0, 0, 2, 1, 0),
        this::append,
        "pageTable[0, 0]",
        "-1");
    t.pageTable = ints(new long[] {2, 3}, 0, 99, 99, 2, 1, 99); // beyond the sequences: not read
    paged();
  }

  @Test
  void withoutValidationDeviceValuesAreNotRead() {
    t.cuSeqlens = ints(new long[] {3}, 7, -5, 99);
    provider.device().clearLog();
    int pending = provider.device().stream(0).pending();
    forward();
    assertEquals(pending + 2, provider.device().stream(0).pending(), "the launch's two steps");
  }
}
