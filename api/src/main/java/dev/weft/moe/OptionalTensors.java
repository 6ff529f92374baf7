package dev.weft.moe;

import dev.weft.Tensor;
import java.util.EnumMap;
import org.jspecify.annotations.Nullable;

/** The tensors that a call may leave out, those of them that were given. Immutable. */
final class OptionalTensors<K extends Enum<K>> {
  private final EnumMap<K, Tensor> given;

  private OptionalTensors(EnumMap<K, Tensor> given) {
    this.given = given;
  }

  static <K extends Enum<K>> OptionalTensors<K> none(Class<K> names) {
    return new OptionalTensors<>(new EnumMap<>(names));
  }

  @Nullable Tensor get(K name) {
    return given.get(name);
  }

  OptionalTensors<K> with(K name, @Nullable Tensor tensor) {
    EnumMap<K, Tensor> changed = given.clone();
    if (tensor == null) {
      changed.remove(name);
    } else {
      changed.put(name, tensor);
    }
    return new OptionalTensors<>(changed);
  }
}
