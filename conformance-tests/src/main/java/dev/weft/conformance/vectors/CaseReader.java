package dev.weft.conformance.vectors;

import dev.weft.DataType;
import dev.weft.HostTensor;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** Reads a case's attributes and inputs, and says by name which is missing or wrong. */
final class CaseReader {
  /** An extent that may be anything. */
  static final long ANY = -1;

  private final String file;
  private final Map<String, String> attributes;
  private final Map<String, HostTensor> inputs;
  private final Set<String> known = new TreeSet<>();

  CaseReader(String file, Map<String, String> attributes, Map<String, HostTensor> inputs) {
    this.file = file;
    this.attributes = attributes;
    this.inputs = inputs;
  }

  VectorFormatException wrong(String problem) {
    return new VectorFormatException(file, problem);
  }

  boolean hasAttribute(String name) {
    return attributes.containsKey(name);
  }

  boolean has(String input) {
    return inputs.containsKey(input);
  }

  String text(String name) {
    String value = attributes.get(name);
    if (value == null) {
      throw wrong(
          "attribute "
              + name
              + ": expected one, but there is none; the file has "
              + new TreeSet<>(attributes.keySet()));
    }
    return value;
  }

  int integer(String name, int least) {
    return integer(name, text(name), least);
  }

  int integer(String name, int least, int absent) {
    return hasAttribute(name) ? integer(name, least) : absent;
  }

  private int integer(String name, String text, int least) {
    try {
      int value = Integer.parseInt(text.strip());
      if (value >= least) {
        return value;
      }
    } catch (NumberFormatException e) {
      // Said below, with the value.
    }
    String range = least == Integer.MIN_VALUE ? "an integer" : "an integer of at least " + least;
    throw wrong("attribute " + name + ": expected " + range + ", but was '" + text + "'");
  }

  float number(String name, float absent) {
    String text = attributes.get(name);
    if (text == null) {
      return absent;
    }
    try {
      float value = Float.parseFloat(text.strip());
      if (Float.isFinite(value)) {
        return value;
      }
    } catch (NumberFormatException e) {
      // Said below, with the value.
    }
    throw wrong("attribute " + name + ": expected a finite number, but was '" + text + "'");
  }

  <V> V choice(String name, Map<String, V> values) {
    String text = text(name);
    V value = values.get(text);
    if (value == null) {
      throw wrong(
          "attribute "
              + name
              + ": expected one of "
              + new TreeSet<>(values.keySet())
              + ", but was '"
              + text
              + "'");
    }
    return value;
  }

  <V> V choice(String name, Map<String, V> values, V absent) {
    return hasAttribute(name) ? choice(name, values) : absent;
  }

  /** A floating input, of whatever precision. */
  HostTensor floats(String name, String shape, long... extents) {
    return check(name, need(name, shape), "f32, f16 or bf16", true, shape, extents);
  }

  @Nullable HostTensor optionalFloats(String name, String shape, long... extents) {
    HostTensor tensor = find(name);
    return tensor == null ? null : check(name, tensor, "f32, f16 or bf16", true, shape, extents);
  }

  HostTensor integers(String name, DataType type, String shape, long... extents) {
    return check(name, need(name, shape), type.text(), false, shape, extents);
  }

  @Nullable HostTensor optionalIntegers(String name, DataType type, String shape, long... extents) {
    HostTensor tensor = find(name);
    return tensor == null ? null : check(name, tensor, type.text(), false, shape, extents);
  }

  /** [B+1] I32, ascending from 0 to at most the rows there are. */
  @Nullable HostTensor cuSeqlens(boolean needed, long rows) {
    HostTensor tensor =
        needed
            ? integers("cu_seqlens", DataType.I32, "[B+1]", ANY)
            : optionalIntegers("cu_seqlens", DataType.I32, "[B+1]", ANY);
    if (tensor == null) {
      return null;
    }
    if (tensor.elements() == 0) {
      throw wrong("tensor cu_seqlens: expected at least one element, as in [B+1], but was empty");
    }
    long previous = 0;
    for (long i = 0; i < tensor.elements(); i++) {
      long value = (long) tensor.get(i);
      if (i == 0 ? value != 0 : value < previous || value > rows) {
        throw wrong(
            "tensor cu_seqlens["
                + i
                + "]: expected "
                + (i == 0 ? "0" : previous + " to " + rows + ", the rows of x or q")
                + ", but was "
                + value);
      }
      previous = value;
    }
    return tensor;
  }

  /** Slots of one call are distinct, but for those that skip their sequence. */
  void checkDistinctSlots(HostTensor cacheIndices, long slots) {
    Set<Integer> seen = new TreeSet<>();
    for (int slot : cacheIndices.toInts()) {
      if (slot >= 0 && slot < slots && !seen.add(slot)) {
        throw wrong(
            "tensor cache_indices: expected distinct slots, but slot " + slot + " is given twice");
      }
    }
  }

  /** A misspelt input must not be passed over. Attributes may say more than is read. */
  void checkAllRead() {
    Set<String> unknown = new TreeSet<>(inputs.keySet());
    unknown.removeAll(known);
    if (!unknown.isEmpty()) {
      throw wrong(
          "tensor "
              + unknown.iterator().next()
              + ": expected one of the inputs "
              + known
              + " of "
              + attributes.get("op")
              + ", or a name that starts with 'expected.'");
    }
  }

  private @Nullable HostTensor find(String name) {
    known.add(name);
    return inputs.get(name);
  }

  private HostTensor need(String name, String shape) {
    HostTensor tensor = find(name);
    if (tensor == null) {
      throw wrong(
          "tensor "
              + name
              + ": expected one of shape "
              + shape
              + ", but there is none; the inputs are "
              + new TreeSet<>(inputs.keySet()));
    }
    return tensor;
  }

  private HostTensor check(
      String name,
      HostTensor tensor,
      String types,
      boolean floating,
      String shape,
      long... extents) {
    boolean typeFits =
        floating ? tensor.dataType().isFloating() : tensor.dataType().text().equals(types);
    long[] given = tensor.shape();
    for (long extent : given) {
      // Lengths, slots and permutations are I32, so nothing longer can be addressed.
      if (extent > Integer.MAX_VALUE) {
        throw wrong(
            "tensor " + name + " " + shape + ": expected extents below 2^31, but was " + tensor);
      }
    }
    boolean shapeFits = given.length == extents.length;
    for (int i = 0; shapeFits && i < given.length; i++) {
      shapeFits = extents[i] == ANY || given[i] == extents[i];
    }
    if (!typeFits || !shapeFits) {
      String wanted =
          Arrays.stream(extents)
              .mapToObj(e -> e == ANY ? "any" : Long.toString(e))
              .collect(Collectors.joining(", ", "[", "]"));
      throw wrong(
          "tensor " + name + " " + shape + ": expected " + types + wanted + ", but was " + tensor);
    }
    return tensor;
  }
}
