package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.moba.MobaSequence;
import java.util.ArrayList;
import java.util.List;

/**
 * Where each sequence's complete blocks lie in scratch memory that all sequences share. Sequences
 * never overlap, so all blocks number at most tokens / blockSize.
 */
final class MobaBlockTable {
  private final int blockSize;
  private final long[] firstBlock;

  MobaBlockTable(List<MobaSequence> sequences, int blockSize) {
    this.blockSize = blockSize;
    firstBlock = new long[sequences.size() + 1];
    for (int s = 0; s < sequences.size(); s++) {
      firstBlock[s + 1] = firstBlock[s] + sequences.get(s).keys() / blockSize;
    }
  }

  /** Returns the complete blocks of all sequences. */
  long total() {
    return firstBlock[firstBlock.length - 1];
  }

  /** Returns the complete blocks of a sequence. */
  int blocks(int sequence) {
    return (int) (firstBlock[sequence + 1] - firstBlock[sequence]);
  }

  /** Returns how many complete blocks the sequences before one have. */
  long firstBlock(int sequence) {
    return firstBlock[sequence];
  }

  /** A task: blocks or positions of one sequence. */
  record Piece(int sequence, int from, int to) {}

  /** Cuts all blocks into pieces of about so many tokens each. */
  List<Piece> pieces(int tokens) {
    List<Piece> pieces = new ArrayList<>();
    for (int s = 0; s < firstBlock.length - 1; s++) {
      cut(s, 0, blocks(s), Math.max(1, tokens / blockSize), pieces);
    }
    return pieces;
  }

  /** Cuts a range into pieces of at most so many. */
  static void cut(int sequence, int from, int to, int most, List<Piece> into) {
    for (int at = from; at < to; at += most) {
      into.add(new Piece(sequence, at, Math.min(to, at + most)));
    }
  }
}
