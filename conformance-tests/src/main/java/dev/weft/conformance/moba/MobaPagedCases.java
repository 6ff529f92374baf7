package dev.weft.conformance.moba;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;

import dev.weft.DataType;
import dev.weft.Graph;
import dev.weft.HostTensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Profile;
import dev.weft.conformance.Values;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.Expected;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/** MoBA over the paged cache: append and attention, step by step. */
final class MobaPagedCases {
  private static final DataType[] ALL = {F32, F16, BF16};

  private final List<ConformanceCase> cases = new ArrayList<>();

  private interface Body {
    void run(CaseContext c, MobaSetup setup, MobaAttentionSpec spec);
  }

  static List<ConformanceCase> list() {
    MobaPagedCases paged = new MobaPagedCases();
    paged.pages();
    paged.chunks();
    paged.batches();
    paged.layouts();
    paged.values();
    paged.hazards();
    paged.farPages();
    return paged.cases;
  }

  private void pages() {
    // A prompt, then tokens one by one.
    decode("pages-of-a-block", 16, t -> new MobaSetup(t, 4, 2, 64, 16, 3, 90, 40), ALL);
    decode("pages-below-blocks", 4, t -> new MobaSetup(t, 4, 2, 64, 16, 3, 90, 40), ALL);
    decode("pages-above-blocks", 64, t -> new MobaSetup(t, 4, 2, 64, 16, 3, 150, 40), F32, F16);
    decode("page-1", 1, t -> new MobaSetup(t, 2, 1, 32, 8, 3, 50), F32);
    decode("block-1", 16, t -> new MobaSetup(t, 2, 1, 8, 1, 4, 50), BF16);
    decode("block-96", 32, t -> new MobaSetup(t, 2, 1, 40, 96, 2, 300), F32);
    decode("block-33", 66, t -> new MobaSetup(t, 2, 1, 80, 33, 3, 150), BF16);
    decode("block-31", 31, t -> new MobaSetup(t, 2, 2, 96, 31, 2, 100), F16);
    decode("wide-keys", 32, t -> new MobaSetup(t, 2, 1, 192, 16, 3, 90).valueDim(128), F32, BF16);
    decode("wide-values", 8, t -> new MobaSetup(t, 2, 1, 8, 16, 3, 90).valueDim(64), F32);
    decode("dim-256", 16, t -> new MobaSetup(t, 2, 1, 256, 32, 3, 130), BF16);
    decode("top-65", 32, t -> new MobaSetup(t, 1, 1, 16, 2, 65, 180), F32);
    decode("own-block-only", 8, t -> new MobaSetup(t, 4, 2, 64, 16, 1, 60), F32);
    decode("fewer-blocks-than-top", 16, t -> new MobaSetup(t, 2, 1, 64, 16, 9, 60), F32);
    decode("group-of-12", 16, t -> new MobaSetup(t, 12, 1, 32, 16, 3, 80), F16);
    decode("scale-0", 16, t -> new MobaSetup(t, 2, 1, 32, 16, 3, 80).scale(0), F32);
    add(
        "65537-blocks",
        Family.RANDOM,
        64,
        t -> new MobaSetup(t, 1, 1, 8, 1, 3, 65538),
        (c, setup, spec) -> {
          MobaCache cache = new MobaCache(c, setup, spec, setup.draw(c), "", 65540);
          cache.next(65537);
          cache.append();
          cache.step(1);
        },
        F32);
  }

  /** Whatever the chunks: the same means and the same selection as in one, and as unpaged. */
  private void chunks() {
    chunks("chunks-of-1", 1, 4, t -> new MobaSetup(t, 2, 1, 32, 8, 3, 45), F32);
    chunks("chunks-of-7", 7, 16, t -> new MobaSetup(t, 4, 2, 64, 16, 3, 110, 60), F32, BF16);
    chunks("chunks-of-block-and-1", 17, 64, t -> new MobaSetup(t, 4, 2, 64, 16, 3, 150), F32, F16);
    chunks("chunks-of-256", 256, 32, t -> new MobaSetup(t, 2, 1, 64, 64, 3, 600), BF16);
    chunks("chunks-of-7-block-96", 7, 32, t -> new MobaSetup(t, 1, 1, 40, 96, 2, 210), F32);
  }

  private void batches() {
    Function<DataType, MobaSetup> four = t -> new MobaSetup(t, 4, 2, 64, 16, 3, 90, 40, 33, 120);
    add(
        "mixed-batch",
        Family.RANDOM,
        8,
        four,
        (c, setup, spec) -> {
          MobaCache cache = new MobaCache(c, setup, spec, setup.draw(c), "", 130);
          cache.step(70, 15, 0, 33);
          cache.step(1, 5, 33, 0); // decode, speculation, prefill, nothing
          cache.step(1, 1, 0, 87);
          cache.step(0, 0, 0, 0);
        },
        F32,
        BF16);
    add(
        "rollback",
        Family.RANDOM,
        8,
        t -> new MobaSetup(t, 4, 2, 64, 16, 3, 90, 40),
        (c, setup, spec) -> {
          MobaCache cache = new MobaCache(c, setup, spec, setup.draw(c), "", 100);
          cache.step(50, 35);
          // Back over a block's end in one sequence, within a block in the other.
          cache.rollBack(5, 2);
          cache.rewrite(0, 45, c.draw("other tokens"));
          cache.rewrite(1, 33, c.draw("other tokens"));
          cache.step(30, 3);
          cache.step(1, 1);
        },
        F32,
        BF16);
    add(
        "shared-prefix",
        Family.RANDOM,
        16,
        t -> new MobaSetup(t, 4, 2, 64, 32, 2, 90, 100),
        (c, setup, spec) -> {
          MobaCache cache = new MobaCache(c, setup, spec, setup.draw(c), "", 100);
          cache.next(70, 0);
          cache.append();
          cache.share(1, 0, 64);
          cache.step(1, 30);
          cache.step(1, 1);
        },
        F32);
    add(
        "no-sequences",
        Family.RANDOM,
        16,
        t -> new MobaSetup(t, 2, 1, 32, 16, 3),
        (c, setup, spec) -> new MobaCache(c, setup, spec, setup.draw(c), "", 5).step(),
        F32);
    add(
        "no-rows",
        Family.RANDOM,
        16,
        t -> new MobaSetup(t, 2, 1, 32, 16, 3, 20),
        (c, setup, spec) -> new MobaCache(c, setup, spec, setup.draw(c), "", 0).step(0),
        F32);
    add(
        "replay-of-the-next-token",
        Family.RANDOM,
        8,
        t -> new MobaSetup(t, 2, 1, 32, 16, 3, 60, 40),
        MobaPagedCases::replay,
        List.of(Profile.PAGED, Profile.GRAPHS),
        F32);
  }

  private void layouts() {
    Function<DataType, MobaSetup> plain = t -> new MobaSetup(t, 4, 2, 40, 16, 3, 70, 30);
    decode("pitched", 32, t -> plain.apply(t).place(Placement.PITCHED), F32);
    decode("misaligned", 8, t -> plain.apply(t).place(Placement.MISALIGNED), F32, BF16);
    add(
        "out-only",
        Family.EXACT,
        16,
        t -> plain.apply(t).outputs(false, false),
        MobaPagedCases::decode,
        F32);
  }

  private void values() {
    Function<DataType, MobaSetup> plain = t -> new MobaSetup(t, 4, 2, 64, 16, 3, 90, 40);
    add("plain", Family.EXACT, 16, plain, MobaPagedCases::decode, ALL);
    add("plain", Family.RAMP, 8, plain, MobaPagedCases::decode, F32);
    add("plain", Family.TIES, 32, plain, MobaPagedCases::decode, F32);
    add("plain", Family.TINY, 16, plain, MobaPagedCases::decode, F16);
    add("scores-1e4", Family.LARGE, 16, plain, MobaPagedCases::decode, F32, F16);
    add(
        "logits-40",
        Family.ADVERSARIAL,
        16,
        t -> plain.apply(t).q(Values.normal(13)),
        MobaPagedCases::decode,
        BF16);
    add(
        "nan-block",
        Family.ADVERSARIAL,
        8,
        t ->
            plain
                .apply(t)
                .q(Values.uniform(0.5, 1))
                .k(Values.normal(1).rows(35, 36, Double.NaN))
                .v(Values.normal(1).rows(32, 48, Double.POSITIVE_INFINITY)),
        MobaPagedCases::decode,
        F32,
        BF16);
  }

  private void hazards() {
    // Nothing may be touched out of bounds, and sequences whose table is right stay right.
    add(
        "bad-pages",
        Family.EXACT,
        8,
        t -> new MobaSetup(t, 2, 1, 32, 16, 3, 60, 40).outputs(true, false),
        MobaPagedCases::badPages,
        F32);
    add(
        "bad-lengths",
        Family.EXACT,
        8,
        t -> new MobaSetup(t, 2, 1, 32, 16, 3, 60, 40).outputs(true, false),
        MobaPagedCases::badLengths,
        F32);
  }

  /** Pages and rows beyond 2^32 elements; pages of a token are as many as rows with padding. */
  private void farPages() {
    String feature = "beyond-2e32-elements";
    decode(feature, 1, t -> new MobaSetup(t, 4, 2, 64, 16, 3, 90, 40).far().padding(3), F32, BF16);
    decode(feature, 128, t -> new MobaSetup(t, 2, 1, 128, 128, 3, 500, 700).far(), BF16);
  }

  private void decode(
      String feature, int pageSize, Function<DataType, MobaSetup> setup, DataType... types) {
    add(feature, Family.RANDOM, pageSize, setup, MobaPagedCases::decode, types);
  }

  /** All but three tokens of each sequence at once, then those one by one. */
  private static void decode(CaseContext c, MobaSetup setup, MobaAttentionSpec spec) {
    int[] prompt = setup.lengths.clone();
    int[] one = new int[prompt.length];
    Arrays.fill(one, 1);
    for (int b = 0; b < prompt.length; b++) {
      prompt[b] -= 3;
    }
    MobaSetup.Inputs inputs = setup.draw(c);
    MobaCache cache = new MobaCache(c, setup, spec, inputs, "", setup.tokens());
    cache.step(prompt);
    cache.step(one);
    cache.step(one);
    cache.step(one);
    if (setup.selection) {
      sameAsUnpaged(c, setup, inputs, cache);
    }
  }

  private void chunks(
      String feature,
      int chunk,
      int pageSize,
      Function<DataType, MobaSetup> setups,
      DataType... types) {
    add(
        feature,
        Family.RANDOM,
        pageSize,
        setups,
        (c, setup, spec) -> {
          MobaSetup.Inputs inputs = setup.draw(c);
          MobaCache whole = new MobaCache(c, setup, spec, inputs, "whole.", setup.used());
          whole.step(setup.lengths);
          MobaCache chunked =
              new MobaCache(c, setup, spec, inputs, "", chunk * setup.lengths.length + 2);
          int[] left = setup.lengths.clone();
          while (Arrays.stream(left).sum() > 0) {
            int[] added = new int[left.length];
            for (int b = 0; b < left.length; b++) {
              added[b] = Math.min(chunk, left[b]);
              left[b] -= added[b];
            }
            chunked.step(added);
          }
          sameMeans(c, setup, whole, chunked);
          sameAsUnpaged(c, setup, inputs, whole);
          sameAsUnpaged(c, setup, inputs, chunked);
        },
        types);
  }

  private static void sameMeans(
      CaseContext c, MobaSetup setup, MobaCache whole, MobaCache chunked) {
    for (int b = 0; b < setup.lengths.length; b++) {
      for (int block = 0; block < setup.lengths[b] / setup.block; block++) {
        long at = whole.mean(b, block).segment().mismatch(chunked.mean(b, block).segment());
        c.require(
            at < 0,
            "mean of block "
                + block
                + " of sequence "
                + b
                + ": the chunks' differs from that of a whole append at element "
                + at / setup.type.bytes());
      }
    }
  }

  /** The selections of all steps are, bit for bit, those of the unpaged form. */
  private static void sameAsUnpaged(
      CaseContext c, MobaSetup setup, MobaSetup.Inputs inputs, MobaCache cache) {
    MobaAttentionSpec spec = setup.spec(Mode.FORWARD);
    if (!c.tested().device().supports(spec).isSupported()) {
      return;
    }
    Operand out = setup.outTensor(c).output();
    Operand selection = setup.selectionTensor(c).output();
    MobaAttention moba = c.tested().prepare(spec);
    MobaForward a =
        MobaForward.of(
                c.tested().of(inputs.q()),
                c.tested().of(inputs.k()),
                c.tested().of(inputs.v()),
                c.tested().of(inputs.cuSeqlens()),
                c.tested().of(out))
            .selection(c.tested().of(selection));
    c.launchOnce(stream -> moba.forward(stream, a));
    HostTensor unpaged = c.read(selection);
    int slots = setup.topK - 1;
    for (long i = 0; i < (long) setup.used() * setup.heads * slots; i++) {
      long row = i / slots;
      c.require(
          unpaged.get(i) == cache.selected.get(i),
          "selection of token "
              + row / setup.heads
              + ", head "
              + row % setup.heads
              + ": the unpaged form chose "
              + slots(unpaged, row, slots)
              + ", the paged "
              + slots(cache.selected, row, slots));
    }
  }

  private static String slots(HostTensor selection, long row, int slots) {
    int[] blocks = new int[slots];
    Arrays.setAll(blocks, slot -> (int) selection.get(row * slots + slot));
    return Arrays.toString(blocks);
  }

  /** One graph appends and attends; replayed, it takes what the inputs hold by then. */
  private static void replay(CaseContext c, MobaSetup setup, MobaAttentionSpec spec) {
    MobaCache cache = new MobaCache(c, setup, spec, setup.draw(c), "", 100);
    cache.step(40, 20);
    cache.step(1, 1);
    MobaAttention moba = c.tested().prepare(spec);
    MobaAppend append = cache.appendOn(c.tested());
    MobaPaged paged = cache.pagedOn(c.tested());
    Graph graph =
        c.keep(
            c.stream()
                .capture(stream -> {
                  moba.append(stream, append);
                  moba.paged(stream, paged);
                }));
    for (int step = 0; step < 10; step++) {
      cache.next(1, step % 2);
      c.launchOnce(graph::launch);
      cache.checkAppended();
      cache.checkAttended(1, step % 2);
    }
  }

  private static void badPages(CaseContext c, MobaSetup setup, MobaAttentionSpec spec) {
    MobaCache cache = new MobaCache(c, setup, spec, setup.draw(c), "", 100);
    cache.step(50, 30);
    cache.next(1, 1);
    HostTensor table = c.read(cache.pageTable);
    long columns = cache.pageTable.shape()[1];
    for (int column : new int[] {0, 2, 3}) {
      table.set(
          columns + column, column == 0 ? 1_000_000_000 : column == 2 ? -7 : Integer.MIN_VALUE);
    }
    c.overwrite(cache.pageTable, table);
    attendBesideABadSequence(c, spec, cache);
  }

  private static void badLengths(CaseContext c, MobaSetup setup, MobaAttentionSpec spec) {
    MobaCache cache = new MobaCache(c, setup, spec, setup.draw(c), "", 100);
    cache.step(50, 30);
    cache.next(1, 1);
    for (int length : new int[] {0, -1, 1_000_000, Integer.MAX_VALUE, Integer.MIN_VALUE}) {
      HostTensor lengths = c.read(cache.cacheLens);
      lengths.set(1, length);
      c.overwrite(cache.cacheLens, lengths);
      attendBesideABadSequence(c, spec, cache);
    }
  }

  /** Appends and attends with one token of each of two sequences, of which the second is bad. */
  private static void attendBesideABadSequence(
      CaseContext c, MobaAttentionSpec spec, MobaCache cache) {
    MobaAttention moba = c.tested().prepare(spec);
    MobaAppend append = cache.appendOn(c.tested());
    MobaPaged paged = cache.pagedOn(c.tested());
    c.launchOnce(stream -> moba.append(stream, append));
    cache.checkAppended();
    c.launchOnce(stream -> moba.paged(stream, paged));
    Map<String, Expected> expected = c.oracle().mobaPaged(spec, cache.pagedOn(c.reference()), null);
    for (Expected output : expected.values()) {
      int width = output.value().length / 100;
      Arrays.fill(output.error(), width, 2 * width, Double.POSITIVE_INFINITY);
    }
    c.check(cache.out, expected.get("out"));
    Operand lse = cache.lse;
    if (lse != null) {
      c.check(lse, expected.get("lse"));
    }
  }

  private void add(
      String feature,
      Family family,
      int pageSize,
      Function<DataType, MobaSetup> setups,
      Body body,
      DataType... types) {
    add(feature, family, pageSize, setups, body, List.of(Profile.PAGED), types);
  }

  private void add(
      String feature,
      Family family,
      int pageSize,
      Function<DataType, MobaSetup> setups,
      Body body,
      List<Profile> profiles,
      DataType... types) {
    for (DataType type : types) {
      MobaSetup setup = setups.apply(type);
      MobaAttentionSpec spec =
          setup.spec(Mode.FORWARD).toBuilder().pageSize(pageSize).modes(Mode.PAGED).build();
      cases.add(
          ConformanceCase.of("moba.paged", type, setup.sizes() + ",p=" + pageSize, feature, family)
              .placement(setup.placement)
              .profiles(profiles.toArray(new Profile[0]))
              .profiles(setup.profiles)
              .flops(pagedFlops(setup))
              .spec(spec)
              .runs(c -> body.run(c, setup, spec)));
    }
  }

  private static long pagedFlops(MobaSetup setup) {
    // All tokens are attended once, or, where there are very many, the last alone.
    return setup.used() > 10_000 ? setup.used() * 4L * setup.dim : 2 * setup.flops();
  }
}
