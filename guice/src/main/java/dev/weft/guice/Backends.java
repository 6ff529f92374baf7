package dev.weft.guice;

import java.lang.annotation.Annotation;
import org.jspecify.annotations.Nullable;

/** Makes {@link Backend} annotations, for use in bindings and keys. */
public final class Backends {
  private Backends() {}

  /**
   * Makes an annotation, as {@link com.google.inject.name.Names#named} does for names.
   *
   * @param selector the id of a provider, or {@code ID:INDEX}
   * @return an annotation that equals {@code @Backend(selector)}
   */
  public static Backend backend(String selector) {
    return new BackendLiteral(selector);
  }

  /** Equal to what the compiler makes of {@code @Backend}, by the rules of {@link Annotation}. */
  @SuppressWarnings("BadAnnotationImplementation") // a record, whose equals and hashCode are below
  private record BackendLiteral(String value) implements Backend {
    @Override
    public Class<? extends Annotation> annotationType() {
      return Backend.class;
    }

    @Override
    public boolean equals(@Nullable Object other) {
      return other instanceof Backend backend && backend.value().equals(value);
    }

    @Override
    public int hashCode() {
      return (127 * "value".hashCode()) ^ value.hashCode();
    }

    @Override
    public String toString() {
      return "@" + Backend.class.getName() + "(\"" + value + "\")";
    }
  }
}
