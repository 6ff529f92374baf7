package dev.weft.conformance.device;

import dev.weft.Binding;
import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Kernel;
import dev.weft.Limits;
import dev.weft.OperationSpec;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.Operand;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * A small launch of one operation, for the cases that ask how launches behave whatever they
 * compute.
 *
 * @param <K> the operation's kernel type
 */
abstract class Workload<K extends Kernel<?>> {
  /** Rows behind the last sequence in every sample, which nothing may touch. */
  static final int PADDING = 2;

  /** One workload of each operation. */
  static List<Workload<?>> all() {
    return List.of(new ConvWorkload(), new MobaWorkload(), new MoeWorkload());
  }

  /** The operation's area, such as {@code moba}. */
  abstract String name();

  abstract OperationSpec<K> spec();

  /** Draws inputs and makes outputs for sequences of some lengths. */
  abstract Sample<K> sample(CaseContext c, String prefix, int... lengths);

  static int sum(int... lengths) {
    int sum = 0;
    for (int length : lengths) {
      sum += length;
    }
    return sum;
  }

  static int[] cuSeqlens(int... lengths) {
    int[] cu = new int[lengths.length + 1];
    for (int b = 0; b < lengths.length; b++) {
      cu[b + 1] = cu[b] + lengths[b];
    }
    return cu;
  }

  /** The tensors of one launch. */
  abstract static class Sample<K extends Kernel<?>> {
    final CaseContext c;
    final String prefix;
    final Limits limits;

    Sample(CaseContext c, String prefix, int... lengths) {
      this.c = c;
      this.prefix = prefix;
      this.limits = Limits.of(sum(lengths) + PADDING, lengths.length);
    }

    /** Binds what must be bound and says how to launch, over tensors of any device. */
    abstract Launchable launchable(K kernel, Function<Operand, Tensor> on);

    /** The launch on the device under test; closed with the case. */
    Launchable launchable(K kernel) {
      return c.keep(launchable(kernel, c.tested()::of));
    }

    /** Holds the outputs to the oracle. */
    abstract void check();

    abstract List<Operand> operands();

    abstract List<Operand> outputs();

    /** The input that a second set of values is tried with. */
    abstract Operand input();

    /** What on the device says how long the sequences are. */
    abstract Operand lengths();

    abstract HostTensor lengthValues(int... lengths);

    /** Overwrites the input with other values of the same kind. */
    void redraw(String name) {
      Operand input = input();
      HostTensor values = HostTensor.allocate(input.dataType(), input.shape());
      c.testCase().family().draws().fill(values, c.draw(name));
      c.overwrite(input, values);
    }
  }

  /** A kernel with its weights and tensors. */
  record Launchable(@Nullable Binding binding, Consumer<Stream> body) implements AutoCloseable {
    void on(Stream stream) {
      body.accept(stream);
    }

    @Override
    public void close() {
      if (binding != null) {
        binding.close();
      }
    }
  }

  static final DataType TYPE = DataType.F32;
}
