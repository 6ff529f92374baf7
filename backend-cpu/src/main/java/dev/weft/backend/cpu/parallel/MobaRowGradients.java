package dev.weft.backend.cpu.parallel;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT_UNALIGNED;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What backward does row by row, before and after {@link MobaKeyGradients}: delta = dout . out, and
 * dq as the sum of its parts, those of its slots in order and its own block's last.
 */
final class MobaRowGradients {
  private static final int ROWS_PER_TASK = 64;

  // Arrays of the scratch.
  private static final int SUM = 0;
  private static final int ROW = 1;

  private final MobaAttentionSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final List<MobaSequence> sequences;
  private final List<MobaBlockTable.Piece> pieces = new ArrayList<>();
  private final MobaBackwardWorkspace workspace;
  private final int group;
  private final Elements out;
  private final Elements dout;
  private final @Nullable Elements selection;

  MobaRowGradients(
      MobaAttentionSpec spec,
      Compute compute,
      List<MobaSequence> sequences,
      MobaBackward a,
      MobaBackwardWorkspace workspace) {
    this.spec = spec;
    this.compute = compute;
    this.sequences = sequences;
    this.workspace = workspace;
    arithmetic = compute.arithmetic();
    group = spec.heads() / spec.kvHeads();
    out = Elements.of(a.out());
    dout = Elements.of(a.dout());
    Tensor given = a.selection();
    selection = given == null ? null : Elements.of(given);
    for (int s = 0; s < sequences.size(); s++) {
      MobaBlockTable.cut(s, 0, sequences.get(s).queries(), ROWS_PER_TASK, pieces);
    }
  }

  private interface RowTask {
    void row(MobaSequence sequence, int position, int head, TaskScratch scratch);
  }

  private void eachRow(int fromHead, int toHead, RowTask task) {
    int first = fromHead * group;
    int end = toHead * group;
    compute.run(
        pieces.size(),
        (number, scratch) -> {
          MobaBlockTable.Piece piece = pieces.get(number);
          for (int position = piece.from(); position < piece.to(); position++) {
            for (int head = first; head < end; head++) {
              task.row(sequences.get(piece.sequence()), position, head, scratch);
            }
          }
        });
  }

  private long rowOf(MobaSequence sequence, int position, int head) {
    return ((long) sequence.firstRow() + position) * group + head % group;
  }

  void computeDeltas(int fromHead, int toHead) {
    int dim = spec.valueDim();
    eachRow(
        fromHead,
        toHead,
        (sequence, position, head, scratch) -> {
          float[] gradient = scratch.floats(SUM, dim);
          float[] value = scratch.floats(ROW, dim);
          read(dout, sequence, position, head, gradient);
          read(out, sequence, position, head, value);
          float delta = arithmetic.dot(gradient, 0, value, 0, dim);
          long at = workspace.delta(head / group - fromHead, rowOf(sequence, position, head));
          workspace.segment().set(JAVA_FLOAT_UNALIGNED, at, delta);
        });
  }

  private void read(Elements rows, MobaSequence sequence, int position, int head, float[] into) {
    long offset = rows.byteOffset((long) sequence.firstRow() + position, head);
    arithmetic.read(rows.dataType(), rows.segment(), offset, into, 0, spec.valueDim());
  }

  void sumParts(Elements dq, int fromHead, int toHead) {
    int dim = spec.headDim();
    int slots = spec.topK() - 1;
    eachRow(
        fromHead,
        toHead,
        (sequence, position, head, scratch) -> {
          float[] sum = scratch.floats(SUM, dim);
          float[] row = scratch.floats(ROW, dim);
          Arrays.fill(sum, 0, dim, 0);
          int own = position / spec.blockSize();
          long t = (long) sequence.firstRow() + position;
          for (int slot = 0; slot <= slots; slot++) {
            int block = slot;
            if (slot < slots && selection != null) {
              block = selection.getInt(t, head, slot);
            }
            if (slot == slots || (block >= 0 && block < own)) {
              long at =
                  workspace.part(head / group - fromHead, rowOf(sequence, position, head), slot);
              arithmetic.read(DataType.F32, workspace.segment(), at, row, 0, dim);
              arithmetic.addScaled(spec.scale(), row, 0, sum, 0, dim);
            }
          }
          arithmetic.write(dq.dataType(), sum, 0, dq.segment(), dq.byteOffset(t, head), dim);
        });
  }
}
