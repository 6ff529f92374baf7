package dev.weft.conformance.mutants;

import dev.weft.Tensor;
import dev.weft.spi.BackendStream;
import org.jspecify.annotations.Nullable;

/** What a mutant makes of a launch. */
@FunctionalInterface
interface Damage {
  /**
   * Launches, with something wrong before, after or instead.
   *
   * @param launch the tensors, and the right launch
   */
  void run(Launch launch);

  /**
   * One launch of any operation.
   *
   * @param stream where it goes
   * @param input x or q
   * @param output out or y
   * @param lengths cuSeqlens or tokenCount; null if there is none
   * @param states the cache; null if there is none
   * @param choice the selection or ids; null if not asked for
   * @param right does what the backend does
   */
  record Launch(
      BackendStream stream,
      Tensor input,
      Tensor output,
      @Nullable Tensor lengths,
      @Nullable Tensor states,
      @Nullable Tensor choice,
      Runnable right) {

    Image image(Tensor tensor) {
      return new Image(stream, tensor);
    }

    /** Rows that are not padding. */
    long rows(Image output) {
      if (lengths == null) {
        return output.size(0);
      }
      Image values = image(lengths);
      return Math.min(output.size(0), (long) values.get(values.elements() - 1));
    }
  }

  /** After the right launch, something is changed in the output. */
  static Damage output(Change change) {
    return launch -> {
      launch.right().run();
      Image image = launch.image(launch.output());
      long rows = launch.rows(image);
      if (rows > 0 && image.elements() > 0) {
        change.apply(image, rows, image.elements() / image.size(0));
        image.store();
      }
    };
  }

  /** Changes an output of some rows of a width. */
  @FunctionalInterface
  interface Change {
    void apply(Image image, long rows, long width);
  }
}
