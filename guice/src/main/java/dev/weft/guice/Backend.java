package dev.weft.guice;

import static java.lang.annotation.ElementType.FIELD;
import static java.lang.annotation.ElementType.METHOD;
import static java.lang.annotation.ElementType.PARAMETER;

import jakarta.inject.Qualifier;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Asks for a device of one backend, whichever was chosen: {@code @Backend("cuda") Device}, or
 * {@code @Backend("cuda:1") Device} for its second device. Bound for each provider that {@link
 * WeftModule} found or was given; the device is opened when the first such parameter is injected.
 */
@Qualifier
@Retention(RetentionPolicy.RUNTIME)
@Target({FIELD, PARAMETER, METHOD})
public @interface Backend {
  /**
   * Names the backend.
   *
   * @return the id of a provider, or {@code ID:INDEX}
   */
  String value();
}
