package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * The memory of the device under test that a case's tensors lie in: a {@link Slab} for each tensor,
 * or for a few that are packed. It says where a tensor lies, watches over launches what they write,
 * and puts everything back.
 */
final class CaseMemory {
  /** Where a tensor lies. */
  record Place(Slab slab, Tensor view) {}

  private final Device device;
  private final Consumer<AutoCloseable> closedWithCase;
  private final List<Slab> slabs = new ArrayList<>();
  private final List<FarRows> farRows = new ArrayList<>();

  CaseMemory(Device device, Consumer<AutoCloseable> closedWithCase) {
    this.device = device;
    this.closedWithCase = closedWithCase;
  }

  /** Makes room for a tensor of its own. */
  Place place(DataType type, long[] shape, Placement placement) {
    int rank = shape.length;
    if (placement == Placement.FAR && rank > 1) {
      FarRows rows = farRows(type, shape[0], rowElements(shape));
      if (rows != null) {
        return new Place(rows.slab, rows.take(rowElements(shape)).reshape(shape));
      }
    }
    boolean transposed = placement == Placement.TRANSPOSED && rank > 1;
    long[] laid = shape.clone();
    if (transposed) {
      laid[rank - 1] = shape[rank - 2];
      laid[rank - 2] = shape[rank - 1];
    }
    long[] pitched = laid.clone();
    boolean gaps = placement == Placement.PITCHED || placement == Placement.MISALIGNED;
    for (int d = 1; gaps && d < rank; d++) {
      pitched[d] += d < rank - 1 ? 1 : placement == Placement.PITCHED ? 16 : oddPad(laid[d]);
    }
    long elements = 1;
    for (long extent : pitched) {
      elements *= extent;
    }
    long guard = Slab.guardElements(type);
    long start = guard + (placement == Placement.MISALIGNED ? 1 : 0);
    Slab slab = slab(type, start + elements + guard);
    Tensor view = slab.base.slice(0, start, start + elements).reshape(pitched);
    for (int d = 1; gaps && d < rank; d++) {
      view = view.slice(d, 0, laid[d]);
    }
    if (transposed) {
      view = view.transpose(rank - 2, rank - 1);
    }
    return new Place(slab, view);
  }

  private static long oddPad(long extent) {
    return extent % 2 == 0 ? 3 : 2;
  }

  /** Makes room for tensors of one first extent, side by side in each row, and a gap after them. */
  List<Place> pack(DataType type, List<long[]> shapes) {
    long rows = shapes.getFirst()[0];
    long pitch = 3;
    for (long[] shape : shapes) {
      pitch += rowElements(shape);
    }
    long guard = Slab.guardElements(type);
    Slab slab = slab(type, guard + rows * pitch + guard);
    Tensor packed = slab.base.slice(0, guard, guard + rows * pitch).reshape(rows, pitch);
    List<Place> places = new ArrayList<>();
    long column = 0;
    for (long[] shape : shapes) {
      long end = column + rowElements(shape);
      places.add(new Place(slab, packed.slice(1, column, end).reshape(shape)));
      column = end;
    }
    return places;
  }

  private static long rowElements(long[] shape) {
    long product = 1;
    for (int d = 1; d < shape.length; d++) {
      product *= shape[d];
    }
    return product;
  }

  /** Memory for rows far apart, if there is some already or they are worth it. */
  private @Nullable FarRows farRows(DataType type, long rows, long columns) {
    for (FarRows far : farRows) {
      if (far.fit(type, rows)) {
        return far;
      }
    }
    if (rows < FarRows.LEAST_ROWS || columns < FarRows.LEAST_COLUMNS) {
      return null;
    }
    FarRows far = new FarRows(device, type, rows, FarRows.REACH);
    add(far.slab);
    farRows.add(far);
    return far;
  }

  private Slab slab(DataType type, long elements) {
    return add(new Slab(device, type, elements));
  }

  private Slab add(Slab slab) {
    closedWithCase.accept(slab.base);
    slabs.add(slab);
    return slab;
  }

  /** Takes over what a launch left; a failure where it wrote what it may not. */
  void acceptLaunch(Stream stream) {
    for (Slab slab : slabs) {
      slab.accept(slab.download(stream), "after the launch");
    }
  }

  /** Puts back what was there before the last launch, and waits. */
  void putBack(Stream stream) {
    for (Slab slab : slabs) {
      slab.restore(stream);
    }
    stream.synchronize();
  }

  /**
   * Demands that the device holds what the last accepted launch left, bit for bit.
   *
   * @param how what was done since, for the failure
   */
  void requireSame(Stream stream, String how) {
    for (Slab slab : slabs) {
      HostTensor now = slab.download(stream);
      long at = now.segment().mismatch(slab.content.segment());
      if (at >= 0) {
        throw new ConformanceFailure(notRepeatable(slab, at / slab.type.bytes(), now, how));
      }
    }
  }

  private static String notRepeatable(Slab slab, long element, HostTensor now, String how) {
    long offset = element * slab.type.bytes();
    String where = "a guard band";
    for (Operand operand : slab.operands) {
      long[] offsets = operand.offsets();
      for (int i = 0; i < offsets.length; i++) {
        if (offsets[i] == offset) {
          where = operand.name() + operand.index(i);
        }
      }
    }
    return "not repeatable: "
        + how
        + " left other bits, first in "
        + where
        + ": "
        + now.get(element)
        + " instead of "
        + slab.content.get(element);
  }
}
