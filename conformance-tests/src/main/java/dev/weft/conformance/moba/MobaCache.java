package dev.weft.conformance.moba;

import static dev.weft.DataType.F32;
import static dev.weft.DataType.I32;

import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.Draw;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Side;
import dev.weft.conformance.Values;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.Expected;
import java.util.Arrays;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * A paged cache that a case fills step by step with the tokens of packed sequences, each step
 * checked against the oracle. Pages are shuffled; pages in no use hold NaN, and entries of the page
 * table that no sequence needs yet hold garbage.
 */
final class MobaCache {
  final Operand keyCache;
  final Operand valueCache;
  final Operand blockMeans;
  final Operand pageTable;
  final Operand cacheLens;
  final Operand cuSeqlens;
  final Operand out;
  final @Nullable Operand lse;
  final @Nullable Operand selection;

  private static final int[] GARBAGE = {
    -1, 1_000_000_000, Integer.MIN_VALUE, -2, Integer.MAX_VALUE
  };

  private final CaseContext c;
  private final MobaSetup setup;
  private final MobaAttentionSpec spec;
  private final MobaAttention moba;
  private final int pageSize;
  private final Operand q;
  private final Operand k;
  private final Operand v;
  private final HostTensor allQ;
  private final HostTensor allK;
  private final HostTensor allV;
  private final int[] starts;
  private final int[] lengths;
  private final int[][] pages;

  /** The selection of every token attended so far, [T, H, topK-1] by its packed row. */
  final HostTensor selected;

  /**
   * Makes an empty cache.
   *
   * @param setup whose sequences will be cached
   * @param inputs their tokens
   * @param rows most new tokens of a step, padding included
   */
  MobaCache(
      CaseContext c,
      MobaSetup setup,
      MobaAttentionSpec spec,
      MobaSetup.Inputs inputs,
      String name,
      int rows) {
    this.c = c;
    this.setup = setup;
    this.spec = spec;
    pageSize = spec.pageSize();
    moba = c.tested().prepare(spec);
    allQ = c.read(inputs.q());
    allK = c.read(inputs.k());
    allV = c.read(inputs.v());
    starts = setup.cuSeqlens();
    int sequences = setup.lengths.length;
    lengths = new int[sequences];
    pages = new int[sequences][];
    int count = 0;
    int columns = 0;
    for (int b = 0; b < sequences; b++) {
      pages[b] = new int[Math.ceilDiv(setup.lengths[b], pageSize)];
      count += pages[b].length;
      columns = Math.max(columns, pages[b].length);
    }
    int spare = 3;
    Draw draw = c.draw(name + "pages");
    int[] order = draw.permutation(count + spare);
    int next = 0;
    for (int[] own : pages) {
      for (int i = 0; i < own.length; i++) {
        own[i] = order[next++];
      }
    }
    long total = order.length;
    Values unused = Values.constant(Double.NaN);
    keyCache =
        c.tensor(name + "keyCache", setup.type, total, pageSize, setup.kvHeads, setup.dim)
            .values(unused)
            .inout();
    valueCache =
        c.tensor(name + "valueCache", setup.type, total, pageSize, setup.kvHeads, setup.valueDim)
            .values(unused)
            .inout();
    blockMeans =
        c.tensor(
                name + "blockMeans",
                setup.type,
                total,
                spec.meansPerPage(),
                setup.kvHeads,
                setup.dim)
            .values(unused)
            .inout();
    pageTable =
        c.tensor(name + "pageTable", I32, sequences, columns + 2)
            .values(Values.constant(-1))
            .input();
    cacheLens = c.tensor(name + "cacheLens", I32, sequences).values(Values.constant(0)).input();
    cuSeqlens = c.tensor(name + "cuSeqlens", I32, sequences + 1).values(Values.constant(0)).input();
    q = c.tensor(name + "q", setup.type, rows, setup.heads, setup.dim).values(unused).input();
    k = c.tensor(name + "k", setup.type, rows, setup.kvHeads, setup.dim).values(unused).input();
    v =
        c.tensor(name + "v", setup.type, rows, setup.kvHeads, setup.valueDim)
            .values(unused)
            .input();
    out = c.tensor(name + "out", setup.type, rows, setup.heads, setup.valueDim).output();
    lse = setup.lse ? c.tensor(name + "lse", F32, rows, setup.heads).output() : null;
    selection =
        setup.selection
            ? c.tensor(name + "selection", I32, rows, setup.heads, setup.topK - 1).output()
            : null;
    selected = HostTensor.allocate(I32, setup.tokens(), setup.heads, setup.topK - 1);
  }

  /** Appends the next tokens of each sequence and attends with them. */
  void step(int... added) {
    next(added);
    append();
    attend(added);
  }

  /** Takes tokens back. */
  void rollBack(int... removed) {
    for (int b = 0; b < removed.length; b++) {
      lengths[b] -= removed[b];
    }
  }

  /** Lets a sequence use another's first pages, which hold the same tokens. */
  void share(int sequence, int with, int tokens) {
    System.arraycopy(pages[with], 0, pages[sequence], 0, tokens / pageSize);
    lengths[sequence] = tokens;
  }

  /** Overwrites what a sequence will hold from a position on. */
  void rewrite(int sequence, int from, Draw draw) {
    rewrite(allK, setup.kvHeads * setup.dim, sequence, from, draw.of("k"));
    rewrite(allV, setup.kvHeads * setup.valueDim, sequence, from, draw.of("v"));
  }

  private void rewrite(HostTensor all, int width, int sequence, int from, Draw draw) {
    long end = (long) starts[sequence + 1] * width;
    for (long i = (long) (starts[sequence] + from) * width; i < end; i++) {
      all.set(i, draw.normal(i));
    }
  }

  /** Sets the inputs of the next append and attention. */
  void next(int... added) {
    int sequences = lengths.length;
    int[] cu = new int[sequences + 1];
    HostTensor table = HostTensor.allocate(I32, pageTable.shape());
    long columns = pageTable.shape()[1];
    HostTensor nextQ = unused(q);
    HostTensor nextK = unused(k);
    HostTensor nextV = unused(v);
    for (int b = 0; b < sequences; b++) {
      int from = starts[b] + lengths[b];
      copyRows(allQ, from, nextQ, cu[b], added[b]);
      copyRows(allK, from, nextK, cu[b], added[b]);
      copyRows(allV, from, nextV, cu[b], added[b]);
      lengths[b] += added[b];
      cu[b + 1] = cu[b] + added[b];
      int needed = Math.ceilDiv(lengths[b], pageSize);
      for (int column = 0; column < columns; column++) {
        table.set(
            b * columns + column,
            column < needed ? pages[b][column] : GARBAGE[(b + column) % GARBAGE.length]);
      }
    }
    c.overwrite(q, nextQ);
    c.overwrite(k, nextK);
    c.overwrite(v, nextV);
    c.overwrite(cuSeqlens, HostTensor.ofInts(cu, cu.length));
    c.overwrite(cacheLens, HostTensor.ofInts(lengths, lengths.length));
    c.overwrite(pageTable, table);
  }

  private static HostTensor unused(Operand operand) {
    HostTensor rows = HostTensor.allocate(operand.dataType(), operand.shape());
    for (long i = 0; i < rows.elements(); i++) {
      rows.set(i, Double.NaN);
    }
    return rows;
  }

  private static void copyRows(HostTensor from, int row, HostTensor to, int toRow, int count) {
    long bytes = from.dataType().bytes();
    for (int d = 1; d < from.shape().length; d++) {
      bytes *= from.shape()[d];
    }
    to.segment()
        .asSlice(toRow * bytes, count * bytes)
        .copyFrom(from.segment().asSlice(row * bytes, count * bytes));
  }

  MobaAppend appendOn(Side side) {
    return MobaAppend.of(
        side.of(k),
        side.of(v),
        side.of(cuSeqlens),
        side.of(cacheLens),
        side.of(pageTable),
        side.of(keyCache),
        side.of(valueCache),
        side.of(blockMeans));
  }

  MobaPaged pagedOn(Side side) {
    return MobaPaged.of(
            side.of(q),
            side.of(cuSeqlens),
            side.of(cacheLens),
            side.of(pageTable),
            side.of(keyCache),
            side.of(valueCache),
            side.of(blockMeans),
            side.of(out))
        .lse(side.ofNullable(lse))
        .selection(side.ofNullable(selection));
  }

  /** Appends what {@link #next} set. */
  void append() {
    MobaAppend a = appendOn(c.tested());
    append(stream -> moba.append(stream, a));
  }

  /** Checks a launch that appends what {@link #next} set. */
  void append(Consumer<Stream> body) {
    c.launch(body);
    checkAppended();
  }

  void checkAppended() {
    Map<String, Expected> expected = c.oracle().mobaAppend(spec, appendOn(c.reference()));
    c.check(keyCache, expected.get("keyCache"));
    c.check(valueCache, expected.get("valueCache"));
    c.check(blockMeans, expected.get("blockMeans"));
    mirror(keyCache);
    mirror(valueCache);
    mirror(blockMeans);
  }

  /** Attends with the tokens that {@link #next} set. */
  void attend(int... added) {
    MobaPaged a = pagedOn(c.tested());
    c.launch(stream -> moba.paged(stream, a));
    checkAttended(added);
  }

  void checkAttended(int... added) {
    MobaPaged reference = pagedOn(c.reference());
    if (selection != null) {
      MobaChecks.written(c, selection, Arrays.stream(added).sum());
      mirror(selection);
      c.requireNoFault(
          c.oracle().mobaPagedSelectionFault(spec, reference, c.reference().of(selection)));
      keep(added);
    }
    Map<String, Expected> expected =
        c.oracle().mobaPaged(spec, reference, c.reference().ofNullable(selection));
    c.check(out, expected.get("out"));
    if (lse != null) {
      c.check(lse, expected.get("lse"));
    }
  }

  private void keep(int... added) {
    if (selection == null) {
      return;
    }
    HostTensor now = c.read(selection);
    int row = 0;
    for (int b = 0; b < added.length; b++) {
      copyRows(now, row, selected, starts[b] + lengths[b] - added[b], added[b]);
      row += added[b];
    }
  }

  /** Gives the reference side what the device under test holds. */
  private void mirror(Operand operand) {
    Stream stream = c.reference().device().defaultStream();
    stream.upload(c.read(operand), c.reference().of(operand));
    stream.synchronize();
  }

  /** Returns the stored mean of a complete block. */
  HostTensor mean(int sequence, int block) {
    int last = (block + 1) * setup.block - 1;
    long slot =
        (long) pages[sequence][last / pageSize] * spec.meansPerPage()
            + last % pageSize / setup.block;
    HostTensor means = c.read(blockMeans);
    HostTensor mean = HostTensor.allocate(setup.type, 1, setup.kvHeads, setup.dim);
    HostTensor flat =
        HostTensor.of(
            setup.type,
            means.segment(),
            means.elements() / setup.kvHeads / setup.dim,
            setup.kvHeads,
            setup.dim);
    copyRows(flat, Math.toIntExact(slot), mean, 0, 1);
    return mean;
  }
}
