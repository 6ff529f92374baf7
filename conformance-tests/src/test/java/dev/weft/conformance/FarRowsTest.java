package dev.weft.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Rows far apart, at distances that a test can afford. */
class FarRowsTest {
  private static final long REACH = 1 << 20;

  private final Device device = ReferenceBackend.open();
  private final Stream stream = device.defaultStream();
  private final FarRows far = new FarRows(device, DataType.BF16, 64, REACH);
  private final HostTensor values = HostTensor.allocate(DataType.BF16, 64, 3, 10);

  FarRowsTest() {
    for (int i = 0; i < values.elements(); i++) {
      values.set(i, i % 251);
    }
  }

  @AfterEach
  void close() {
    far.slab.base.close();
    device.close();
  }

  @Test
  void the_last_rows_lie_beyond_the_reach() {
    Tensor view = far.take(30);
    assertTrue(60 * view.stride(0) >= REACH, () -> "" + view.stride(0));
    assertTrue(58 * view.stride(0) < REACH, () -> "" + view.stride(0));
    assertTrue(view.byteOffset() > 0);
  }

  @Test
  void what_lies_there_is_known_by_its_index() {
    operand("first", Operand.Role.INPUT);
    Operand second = operand("second", Operand.Role.INPUT);
    far.slab.upload(stream);
    assertEquals(-1, second.on(true).download().segment().mismatch(values.segment()));
    HostTensor now = far.slab.download(stream);
    assertEquals(-1, second.gather(now).segment().mismatch(values.segment()));
  }

  @Test
  void outputs_may_be_written_and_nothing_else() {
    Operand input = operand("input", Operand.Role.INPUT);
    Operand output = operand("output", Operand.Role.OUTPUT);
    far.slab.upload(stream);
    stream.zero(output.on(true));
    far.slab.accept(far.slab.download(stream), "test");
    stream.zero(input.on(true).slice(0, 63, 64).slice(2, 9, 10));
    ConformanceFailure modified = assertThrows(ConformanceFailure.class, this::accept);
    assertTrue(
        modified.toString().contains("input was modified at [63, 0, 9]"), modified::toString);
  }

  @Test
  void writes_beside_a_row_are_seen() {
    Tensor view = far.take(30);
    Tensor neighbour = far.take(10);
    Operand output = operand(view.reshape(64, 3, 10), "output", Operand.Role.OUTPUT);
    far.slab.upload(stream);
    stream.zero(neighbour.slice(0, 62, 63));
    ConformanceFailure outside = assertThrows(ConformanceFailure.class, this::accept);
    assertTrue(outside.toString().contains("wrote outside of " + output.name()), outside::toString);
  }

  @Test
  void what_does_not_fit_is_refused() {
    assertThrows(IllegalStateException.class, () -> far.take(REACH));
  }

  private void accept() {
    far.slab.accept(far.slab.download(stream), "test");
  }

  private Operand operand(String name, Operand.Role role) {
    return operand(far.take(30).reshape(64, 3, 10), name, role);
  }

  private Operand operand(Tensor view, String name, Operand.Role role) {
    Operand operand = new Operand(name, role, far.slab, view, view);
    operand.scatter(values, far.slab.content);
    return operand;
  }
}
