package dev.weft.conformance.vectors;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import dev.weft.DataType;
import dev.weft.HostTensor;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The JSON header of a safetensors file: {@code {"__metadata__": {NAME: STRING, ...}, TENSOR:
 * {"dtype": "F32", "shape": [..], "data_offsets": [BEGIN, END]}, ...}}. Offsets count from the
 * header's end; together the tensors cover the rest of the file, without holes or overlaps.
 *
 * @param metadata the attributes
 * @param entries the tensors, in the header's order
 * @param dataStart where in the file the header ends
 */
record SafetensorsHeader(Map<String, String> metadata, List<Entry> entries, long dataStart) {
  static final String METADATA = "__metadata__";

  /** The limit of the format's own implementation. */
  private static final long MOST_BYTES = 100_000_000;

  private static final int LENGTH_BYTES = 8;
  private static final JsonFactory JSON =
      JsonFactory.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();
  private static final ValueLayout.OfLong LENGTH =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** One tensor's place. */
  @SuppressWarnings("ArrayRecordComponent") // compared by nobody
  record Entry(String name, DataType dataType, long[] shape, long begin, long end) {}

  static SafetensorsHeader parse(String file, MemorySegment bytes) {
    long size = bytes.byteSize();
    if (size < LENGTH_BYTES) {
      throw new VectorFormatException(
          file,
          "expected a header length of "
              + LENGTH_BYTES
              + " bytes, but the file has "
              + size
              + "; it is truncated or no safetensors file");
    }
    long length = bytes.get(LENGTH, 0);
    if (length < 2 || length > MOST_BYTES) {
      throw new VectorFormatException(
          file,
          "header length: expected 2 to "
              + MOST_BYTES
              + " bytes, but was "
              + Long.toUnsignedString(length)
              + "; is this a safetensors file?");
    }
    if (length > size - LENGTH_BYTES) {
      throw new VectorFormatException(
          file,
          "header: expected "
              + length
              + " bytes, but only "
              + (size - LENGTH_BYTES)
              + " follow; the file is truncated");
    }
    byte[] json = bytes.asSlice(LENGTH_BYTES, length).toArray(ValueLayout.JAVA_BYTE);
    SafetensorsHeader header = new Reader(file, LENGTH_BYTES + length).read(json);
    checkCover(file, header.entries(), size - header.dataStart());
    return header;
  }

  private static void checkCover(String file, List<Entry> entries, long dataBytes) {
    List<Entry> byPlace = new ArrayList<>(entries);
    byPlace.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));
    long covered = 0;
    for (Entry entry : byPlace) {
      if (entry.end() > dataBytes) {
        throw new VectorFormatException(
            file,
            "tensor '"
                + entry.name()
                + "': data_offsets: expected an end within the file's "
                + dataBytes
                + " bytes of data, but was "
                + entry.end()
                + "; the file is truncated");
      }
      if (entry.begin() != covered) {
        throw new VectorFormatException(
            file,
            "tensor '"
                + entry.name()
                + "': data_offsets: expected to begin at byte "
                + covered
                + ", where the one before it ends, but was "
                + entry.begin()
                + (entry.begin() < covered ? " (overlap)" : " (hole)"));
      }
      covered = entry.end();
    }
    if (covered != dataBytes) {
      throw new VectorFormatException(
          file, "data: the header describes " + covered + " bytes, but the file has " + dataBytes);
    }
  }

  /** Tensors in the order in which this class lays them out: larger elements first, all aligned. */
  static Map<String, HostTensor> inFileOrder(Map<String, HostTensor> tensors) {
    Map<String, HostTensor> ordered = new LinkedHashMap<>();
    tensors.entrySet().stream()
        .sorted(Comparator.comparingInt(e -> -e.getValue().dataType().bytes()))
        .forEach(e -> ordered.put(e.getKey(), e.getValue()));
    return ordered;
  }

  /** The header of these tensors, padded with spaces so that the data is aligned to 8 bytes. */
  static byte[] json(Map<String, String> metadata, Map<String, HostTensor> tensors)
      throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (JsonGenerator json = JSON.createGenerator(bytes)) {
      json.writeStartObject();
      if (!metadata.isEmpty()) {
        json.writeObjectFieldStart(METADATA);
        for (Map.Entry<String, String> attribute : metadata.entrySet()) {
          json.writeStringField(attribute.getKey(), attribute.getValue());
        }
        json.writeEndObject();
      }
      long at = 0;
      for (Map.Entry<String, HostTensor> named : inFileOrder(tensors).entrySet()) {
        HostTensor tensor = named.getValue();
        long end = at + tensor.segment().byteSize();
        json.writeObjectFieldStart(named.getKey());
        json.writeStringField("dtype", tensor.dataType().name());
        long[] shape = tensor.shape();
        json.writeFieldName("shape");
        json.writeArray(shape, 0, shape.length);
        json.writeFieldName("data_offsets");
        json.writeArray(new long[] {at, end}, 0, 2);
        json.writeEndObject();
        at = end;
      }
      json.writeEndObject();
    }
    while (bytes.size() % 8 != 0) {
      bytes.write(' ');
    }
    return bytes.toByteArray();
  }

  /** Reads one header, and says what is wrong with it. */
  private record Reader(String file, long dataStart) {
    SafetensorsHeader read(byte[] bytes) {
      if (bytes[0] != '{') {
        throw wrong("header: expected a JSON object that starts with '{'");
      }
      Map<String, String> metadata = Map.of();
      List<Entry> entries = new ArrayList<>();
      try (JsonParser json = JSON.createParser(bytes)) {
        json.nextToken();
        while (json.nextToken() == JsonToken.FIELD_NAME) {
          String name = json.currentName();
          expect(json, json.nextToken(), JsonToken.START_OBJECT, "'" + name + "'", "an object");
          if (name.equals(METADATA)) {
            metadata = attributes(json);
          } else {
            entries.add(tensor(json, name));
          }
        }
        if (json.nextToken() != null) {
          throw wrong("header: expected nothing but spaces after the JSON object");
        }
      } catch (JsonProcessingException e) {
        throw new VectorFormatException(
            file, "header: expected JSON, but: " + firstLine(e.getOriginalMessage()), e);
      } catch (IOException e) {
        // Of what is in memory, only malformed characters come here.
        throw new VectorFormatException(
            file, "header: expected JSON in UTF-8, but: " + firstLine(e.getMessage()), e);
      }
      return new SafetensorsHeader(metadata, entries, dataStart);
    }

    private Map<String, String> attributes(JsonParser json) throws IOException {
      Map<String, String> attributes = new LinkedHashMap<>();
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String name = json.currentName();
        expect(
            json, json.nextToken(), JsonToken.VALUE_STRING, "attribute '" + name + "'", "a string");
        attributes.put(name, json.getText());
      }
      return attributes;
    }

    private Entry tensor(JsonParser json, String name) throws IOException {
      String what = "tensor '" + name + "'";
      @Nullable DataType dataType = null;
      long @Nullable [] shape = null;
      long @Nullable [] offsets = null;
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String field = json.currentName();
        json.nextToken();
        switch (field) {
          case "dtype" -> dataType = dataType(json, what);
          case "shape" -> shape = integers(json, what + ": shape");
          case "data_offsets" -> offsets = integers(json, what + ": data_offsets");
          default ->
              throw wrong(
                  what + ": expected dtype, shape and data_offsets, but was '" + field + "'");
        }
      }
      if (dataType == null || shape == null || offsets == null) {
        throw wrong(
            what
                + ": expected dtype, shape and data_offsets, but there is no "
                + (dataType == null ? "dtype" : shape == null ? "shape" : "data_offsets"));
      }
      if (offsets.length != 2 || offsets[0] > offsets[1]) {
        throw wrong(
            what + ": data_offsets: expected [begin, end], but was " + Arrays.toString(offsets));
      }
      long bytes = bytes(what, dataType, shape);
      if (offsets[1] - offsets[0] != bytes) {
        throw wrong(
            what
                + ": data_offsets: expected the "
                + bytes
                + " bytes of "
                + dataType.text()
                + Arrays.toString(shape)
                + ", but was "
                + (offsets[1] - offsets[0]));
      }
      return new Entry(name, dataType, shape, offsets[0], offsets[1]);
    }

    private DataType dataType(JsonParser json, String what) throws IOException {
      for (DataType type : DataType.values()) {
        if (json.currentToken() == JsonToken.VALUE_STRING && type.name().equals(json.getText())) {
          return type;
        }
      }
      throw wrong(
          what
              + ": dtype: expected one of "
              + Arrays.toString(DataType.values())
              + ", but was "
              + firstLine(json.getText()));
    }

    private long[] integers(JsonParser json, String what) throws IOException {
      expect(json, json.currentToken(), JsonToken.START_ARRAY, what, "an array");
      List<Long> values = new ArrayList<>();
      while (json.nextToken() != JsonToken.END_ARRAY) {
        if (json.currentToken() != JsonToken.VALUE_NUMBER_INT
            || json.getNumberType() == JsonParser.NumberType.BIG_INTEGER
            || json.getLongValue() < 0) {
          throw wrong(
              what
                  + ": expected integers from 0 to "
                  + Long.MAX_VALUE
                  + ", but was "
                  + firstLine(json.getText()));
        }
        values.add(json.getLongValue());
      }
      return values.stream().mapToLong(Long::longValue).toArray();
    }

    private long bytes(String what, DataType dataType, long[] shape) {
      try {
        long bytes = dataType.bytes();
        boolean empty = false;
        for (long extent : shape) {
          empty |= extent == 0;
          // An empty tensor has strides too, and they must not overflow.
          bytes = Math.multiplyExact(bytes, Math.max(extent, 1));
        }
        return empty ? 0 : bytes;
      } catch (ArithmeticException e) {
        throw new VectorFormatException(
            file,
            what + ": shape: expected at most 2^63 - 1 bytes, but was " + Arrays.toString(shape),
            e);
      }
    }

    private void expect(
        JsonParser json, @Nullable JsonToken given, JsonToken wanted, String what, String words)
        throws IOException {
      if (given != wanted) {
        throw wrong(
            "header: " + what + ": expected " + words + ", but was " + firstLine(json.getText()));
      }
    }

    private VectorFormatException wrong(String problem) {
      return new VectorFormatException(file, problem);
    }

    private static String firstLine(@Nullable String text) {
      String line = String.valueOf(text).lines().findFirst().orElse("");
      return line.length() <= 120 ? line : line.substring(0, 120) + "...";
    }
  }
}
