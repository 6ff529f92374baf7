package dev.weft.cli;

import dev.weft.DataType;
import dev.weft.conformance.vectors.CaseFile;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.TypeConversionException;

/** The cases to compute, and in which type. */
final class CaseArguments {
  @Parameters(
      arity = "1..*",
      paramLabel = "CASE",
      description = "Safetensors files of format weft-case-1.")
  List<Path> files = List.of();

  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      converter = FloatingType.class,
      description =
          "f32, f16 or bf16: the type to compute in; by default the one that the case names."
              + " Inputs are rounded to it first.")
  @Nullable DataType dataType;

  DataType typeOf(CaseFile file) {
    return dataType == null ? file.dataType() : dataType;
  }

  /** Parses the types that operations have. */
  static final class FloatingType implements ITypeConverter<DataType> {
    @Override
    public DataType convert(String value) {
      for (DataType type : DataType.values()) {
        if (type.isFloating() && type.text().equalsIgnoreCase(value)) {
          return type;
        }
      }
      throw new TypeConversionException("expected one of f32, f16, bf16, but was '" + value + "'");
    }
  }
}
