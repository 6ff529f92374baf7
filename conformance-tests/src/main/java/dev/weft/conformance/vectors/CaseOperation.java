package dev.weft.conformance.vectors;

import dev.weft.DataType;
import dev.weft.OperationSpec;

/** What a case computes: options and inputs, checked against each other when the file was read. */
sealed interface CaseOperation permits MobaCase, Conv1dCase, Conv1dUpdateCase, MoeCase {
  /** The spec of a run in this type. */
  OperationSpec<?> spec(DataType type);

  /** Enqueues forward and, where there is a {@code dout}, backward; names every output. */
  void run(CaseTensors tensors);
}
