package dev.weft.conformance;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A JSON object as maps and lists, read by name with errors that say what was expected where. For
 * reports, which are small.
 */
final class JsonTree {
  private final String path;
  private final Map<String, Object> fields;

  private JsonTree(String path, Map<String, Object> fields) {
    this.path = path;
    this.fields = fields;
  }

  /**
   * Reads a text.
   *
   * @throws IllegalArgumentException if it is not one JSON object, or a name occurs twice in one
   */
  static JsonTree parse(String text) {
    JsonFactory factory =
        JsonFactory.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();
    try (JsonParser parser = factory.createParser(text)) {
      parser.nextToken();
      JsonTree tree = tree("the report", value(parser));
      if (parser.nextToken() != null) {
        throw new IllegalArgumentException("the report: something follows the object");
      }
      return tree;
    } catch (IOException e) {
      throw new IllegalArgumentException("the report is not JSON: " + e.getMessage(), e);
    }
  }

  private static Object value(JsonParser parser) throws IOException {
    JsonToken token = parser.currentToken();
    return switch (token) {
      case START_OBJECT -> {
        Map<String, Object> fields = new LinkedHashMap<>();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
          String name = parser.currentName();
          parser.nextToken();
          fields.put(name, value(parser));
        }
        yield fields;
      }
      case START_ARRAY -> {
        List<Object> elements = new ArrayList<>();
        while (parser.nextToken() != JsonToken.END_ARRAY) {
          elements.add(value(parser));
        }
        yield elements;
      }
      case VALUE_STRING -> parser.getText();
      case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> parser.getDoubleValue();
      case VALUE_TRUE -> true;
      case VALUE_FALSE -> false;
      case null, default ->
          throw new IllegalArgumentException("the report: did not expect " + token + " there");
    };
  }

  private static JsonTree tree(String path, Object value) {
    if (!(value instanceof Map<?, ?> map)) {
      throw new IllegalArgumentException(path + ": expected an object");
    }
    Map<String, Object> fields = new LinkedHashMap<>();
    map.forEach((name, field) -> fields.put((String) name, field));
    return new JsonTree(path, fields);
  }

  boolean has(String name) {
    return fields.containsKey(name);
  }

  String text(String name) {
    return get(name, String.class, "a text");
  }

  /** The text of a field, or an empty one where there is no such field. */
  String textOrEmpty(String name) {
    return has(name) ? text(name) : "";
  }

  double number(String name) {
    return get(name, Double.class, "a number");
  }

  long whole(String name) {
    return (long) number(name);
  }

  boolean flag(String name) {
    return get(name, Boolean.class, "true or false");
  }

  JsonTree object(String name) {
    return tree(path + '.' + name, get(name, Object.class, "an object"));
  }

  List<String> texts(String name) {
    List<String> texts = new ArrayList<>();
    for (Object element : get(name, List.class, "an array")) {
      texts.add((String) element);
    }
    return texts;
  }

  List<JsonTree> objects(String name) {
    List<JsonTree> objects = new ArrayList<>();
    for (Object element : get(name, List.class, "an array")) {
      objects.add(tree(path + '.' + name + '[' + objects.size() + ']', element));
    }
    return objects;
  }

  private <T> T get(String name, Class<T> type, String expected) {
    @Nullable Object value = fields.get(name);
    if (!type.isInstance(value)) {
      throw new IllegalArgumentException(path + '.' + name + ": expected " + expected);
    }
    return type.cast(value);
  }
}
