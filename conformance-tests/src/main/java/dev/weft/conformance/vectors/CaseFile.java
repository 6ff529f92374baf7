package dev.weft.conformance.vectors;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.OperationSpec;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A case of format {@code weft-case-1}: an operation's options and inputs and, if it has them, the
 * outputs expected. A safetensors file whose attributes are the options, whose tensors named {@code
 * expected.NAME} are the expected outputs and whose other tensors are the inputs; {@code
 * docs/case-format.md} has the tables.
 *
 * <p>Everything is checked when the file is read: a case that exists can be run. Immutable.
 */
public final class CaseFile {
  /** The value of the attribute {@code format}. */
  public static final String FORMAT = "weft-case-1";

  private static final String EXPECTED = "expected.";

  private final String file;
  private final String name;
  private final String operation;
  private final DataType dataType;
  private final Map<String, String> attributes;
  private final Map<String, HostTensor> inputs;
  private final Map<String, HostTensor> expected;
  private final CaseOperation definition;

  private CaseFile(String file, Safetensors content) {
    this.file = file;
    this.name = nameOf(file);
    this.attributes = content.metadata();
    Map<String, HostTensor> in = new LinkedHashMap<>();
    Map<String, HostTensor> out = new LinkedHashMap<>();
    content
        .tensors()
        .forEach((tensor, value) -> {
          if (tensor.startsWith(EXPECTED)) {
            out.put(tensor.substring(EXPECTED.length()), value);
          } else {
            in.put(tensor, value);
          }
        });
    this.inputs = Collections.unmodifiableMap(in);
    this.expected = Collections.unmodifiableMap(out);
    CaseReader reader = new CaseReader(file, attributes, inputs);
    String format = reader.text("format");
    if (!format.equals(FORMAT)) {
      throw reader.wrong("attribute format: expected " + FORMAT + ", but was '" + format + "'");
    }
    this.dataType =
        reader.choice(
            "dtype", Map.of("f32", DataType.F32, "f16", DataType.F16, "bf16", DataType.BF16));
    this.operation = reader.text("op");
    this.definition =
        switch (operation) {
          case MobaCase.OP -> MobaCase.read(reader);
          case Conv1dCase.OP -> Conv1dCase.read(reader);
          case Conv1dUpdateCase.OP -> Conv1dUpdateCase.read(reader);
          case MoeCase.OP -> MoeCase.read(reader);
          default ->
              throw reader.wrong(
                  "attribute op: expected one of "
                      + List.of(MobaCase.OP, Conv1dCase.OP, Conv1dUpdateCase.OP, MoeCase.OP)
                      + ", but was '"
                      + operation
                      + "'");
        };
    reader.checkAllRead();
    try {
      definition.spec(dataType);
    } catch (IllegalArgumentException e) {
      throw new VectorFormatException(file, String.valueOf(e.getMessage()), e);
    }
  }

  /**
   * Reads a case. The file is mapped into memory: nobody may truncate it while the case is in use.
   *
   * @param file the file
   * @return the case
   * @throws VectorFormatException if the file is missing or damaged, or the case cannot be run:
   *     naming the attribute or tensor, what was expected and what was given
   */
  public static CaseFile read(Path file) {
    return of(file.toString(), Safetensors.read(file));
  }

  /**
   * Reads a case that is in memory.
   *
   * @param file what errors call it
   * @param content its attributes and tensors
   * @return the case
   * @throws VectorFormatException if the case cannot be run
   */
  public static CaseFile of(String file, Safetensors content) {
    return new CaseFile(file, content);
  }

  private static String nameOf(String file) {
    String last = file.substring(Math.max(file.lastIndexOf('/'), file.lastIndexOf('\\')) + 1);
    int dot = last.lastIndexOf('.');
    return dot <= 0 ? last : last.substring(0, dot);
  }

  /**
   * Returns the file.
   *
   * @return its path or name, as the user named it
   */
  public String file() {
    return file;
  }

  /**
   * Returns the case's name.
   *
   * @return the file's name without its extension
   */
  public String name() {
    return name;
  }

  /**
   * Returns the operation.
   *
   * @return {@code moba_attention}, {@code causal_conv1d}, {@code causal_conv1d_update} or {@code
   *     moe_dispatch}
   */
  public String operation() {
    return operation;
  }

  /**
   * Returns the type that the original ran in.
   *
   * @return F32, F16 or BF16
   */
  public DataType dataType() {
    return dataType;
  }

  /**
   * Returns what code produced the file.
   *
   * @return the attribute {@code source}; empty if there is none
   */
  public String source() {
    return attributes.getOrDefault("source", "");
  }

  /**
   * Returns all attributes.
   *
   * @return the file's attributes, unmodifiable
   */
  public Map<String, String> attributes() {
    return attributes;
  }

  /**
   * Returns the inputs.
   *
   * @return tensors by name as stored, unmodifiable; not to be written to
   */
  public Map<String, HostTensor> inputs() {
    return inputs;
  }

  /**
   * Returns the outputs expected.
   *
   * @return tensors by name without {@code expected.}, unmodifiable; empty if the file has none
   */
  public Map<String, HostTensor> expected() {
    return expected;
  }

  /**
   * Returns the spec that a run in a type prepares.
   *
   * @param type F32, F16 or BF16
   * @return the spec, whose text says everything that is compiled
   */
  public OperationSpec<?> spec(DataType type) {
    return definition.spec(type);
  }

  CaseOperation definition() {
    return definition;
  }

  @Override
  public String toString() {
    return name + " (" + operation + ", " + dataType.text() + ")";
  }
}
