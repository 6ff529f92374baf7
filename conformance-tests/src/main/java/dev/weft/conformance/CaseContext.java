package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.Graph;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.spi.Expected;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Oracle;
import dev.weft.spi.Probe;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * What a running case works with: two devices, guarded tensors on both, launches that are repeated
 * and watched, and checks. Used by one thread.
 *
 * <p>A body draws its tensors, launches through {@link #launch}, asks the {@linkplain #oracle()
 * oracle} with the same arguments on the {@linkplain #reference() reference side}, and checks:
 *
 * <pre>{@code
 * Operand x = c.tensor("x", BF16, tokens, channels).input();
 * Operand cu = c.ints("cuSeqlens", 0, 3, 17);
 * Operand out = c.tensor("out", BF16, tokens, channels).output();
 * Function<Side, Conv1dForward> arguments =
 *     s -> Conv1dForward.of(weights(s), s.of(x), s.of(cu), s.of(out));
 * CausalConv1d conv = c.tested().prepare(spec);
 * Conv1dForward a = arguments.apply(c.tested());
 * c.launch(stream -> conv.forward(stream, a));
 * c.check(out, c.oracle().conv1dForward(spec, arguments.apply(c.reference())).get("out"));
 * }</pre>
 */
public final class CaseContext {
  private final ConformanceCase testCase;
  private final KernelProvider provider;
  private final Side tested;
  private final Side reference;
  private final Oracle oracle;
  private final Draw draw;
  private final boolean replays;
  private final Deque<AutoCloseable> open = new ConcurrentLinkedDeque<>();
  private final CaseMemory memory;
  private final Stream stream;
  private @Nullable Stream otherStream;
  private double worst;
  private int checks;

  CaseContext(
      ConformanceCase testCase,
      KernelProvider provider,
      Device device,
      Device referenceDevice,
      Oracle oracle,
      long salt,
      boolean replays) {
    this.testCase = testCase;
    this.provider = provider;
    this.tested = new Side(this, device, true);
    this.reference = new Side(this, referenceDevice, false);
    this.oracle = oracle;
    this.draw = Draw.of(testCase.id() + '@' + ConformanceRun.SUITE_VERSION, salt);
    this.replays = replays && device.info().graphs();
    this.stream = keep(device.newStream());
    this.memory = new CaseMemory(device, this::keep);
  }

  /**
   * Returns the case.
   *
   * @return the case that runs
   */
  public ConformanceCase testCase() {
    return testCase;
  }

  /**
   * Returns the side under test.
   *
   * @return the device under test and what was made on it
   */
  public Side tested() {
    return tested;
  }

  /**
   * Returns the reference side.
   *
   * @return the reference device and what was made on it
   */
  public Side reference() {
    return reference;
  }

  /**
   * Returns the oracle; its arguments are those of the reference side.
   *
   * @return the oracle
   */
  public Oracle oracle() {
    return oracle;
  }

  /**
   * Returns the provider under test.
   *
   * @return the provider
   */
  public KernelProvider provider() {
    return provider;
  }

  /**
   * Opens the device under test once more, with other options.
   *
   * @param change changes the options of the run
   * @return the device, closed with the case
   */
  public Device openAgain(Consumer<DeviceOptions.Builder> change) {
    return open(tested.device().info().descriptor().index(), change);
  }

  /**
   * Opens another device of the provider: the one after the device under test, or that one again
   * where there is no other.
   *
   * @return a device of its own; closed with the case
   */
  public Device openAnother() {
    int next = tested.device().info().descriptor().index() + 1;
    int count = provider.probe() instanceof Probe.Available found ? found.devices().size() : 1;
    return open(next < count ? next : 0, options -> {});
  }

  private Device open(int index, Consumer<DeviceOptions.Builder> change) {
    DeviceOptions given = tested.device().options();
    DeviceOptions.Builder options =
        DeviceOptions.builder()
            .threads(given.threads())
            .synchronous(given.synchronous())
            .memoryLimit(given.memoryLimit())
            .validate(false);
    given.properties().forEach(options::property);
    change.accept(options);
    return keep(Weft.open(provider, Integer.toString(index), options.build()));
  }

  /**
   * Returns a stream of the device under test, this case's own.
   *
   * @return the stream that {@link #launch} uses
   */
  public Stream stream() {
    return stream;
  }

  /**
   * Returns a generator for the case's own choices.
   *
   * @param name what is drawn
   * @return the generator
   */
  public Draw draw(String name) {
    return draw.of(name);
  }

  /**
   * Closes something with the case. May be called from any thread.
   *
   * @param thing what to close
   * @param <T> its type
   * @return the thing
   */
  public <T extends AutoCloseable> T keep(T thing) {
    open.push(thing);
    return thing;
  }

  // ---- tensors ----

  /**
   * Describes a tensor: by default with the family's values, placed as the case is.
   *
   * @param name its name; values derive from it
   * @param type the element type
   * @param shape the extents
   * @return a description, ended by {@link TensorOf#input()} and its sisters
   */
  public TensorOf tensor(String name, DataType type, long... shape) {
    return new TensorOf(name, type, shape);
  }

  /**
   * Makes an I32 input of one dimension.
   *
   * @param name its name
   * @param values its elements
   * @return the tensor
   */
  public Operand ints(String name, int... values) {
    return tensor(name, DataType.I32, values.length)
        .host(HostTensor.ofInts(values, values.length))
        .input();
  }

  /**
   * Makes a U8 input of one dimension.
   *
   * @param name its name
   * @param values its elements, 0 or 1
   * @return the tensor
   */
  public Operand flags(String name, int... values) {
    HostTensor host = HostTensor.allocate(DataType.U8, values.length);
    for (int i = 0; i < values.length; i++) {
      host.set(i, values[i]);
    }
    return tensor(name, DataType.U8, values.length).host(host).input();
  }

  /**
   * Places inputs as parts of one packed tensor: side by side in each row of dimension 0.
   *
   * @param parts of one type and one first extent
   * @return the tensors, in order
   */
  public List<Operand> packInputs(TensorOf... parts) {
    return pack(Operand.Role.INPUT, parts);
  }

  /**
   * Places outputs as parts of one packed tensor.
   *
   * @param parts of one type and one first extent
   * @return the tensors, in order
   */
  public List<Operand> packOutputs(TensorOf... parts) {
    return pack(Operand.Role.OUTPUT, parts);
  }

  private List<Operand> pack(Operand.Role role, TensorOf... parts) {
    List<CaseMemory.Place> places =
        memory.pack(parts[0].type, Arrays.stream(parts).map(part -> part.shape).toList());
    List<Operand> operands = new ArrayList<>();
    for (int i = 0; i < parts.length; i++) {
      operands.add(parts[i].put(role, places.get(i)));
    }
    places.getFirst().slab().upload(stream);
    return operands;
  }

  /** A tensor about to be made. */
  public final class TensorOf {
    private final String name;
    private final DataType type;
    private final long[] shape;
    private Placement placement = testCase.placement();
    private Values values = testCase.family().draws();
    private @Nullable HostTensor host;

    private TensorOf(String name, DataType type, long[] shape) {
      this.name = name;
      this.type = type;
      this.shape = shape.clone();
    }

    /**
     * Sets the values.
     *
     * @param values instead of the family's
     * @return this
     */
    public TensorOf values(Values values) {
      this.values = values;
      return this;
    }

    /**
     * Sets the elements.
     *
     * @param host of the tensor's type and shape
     * @return this
     */
    public TensorOf host(HostTensor host) {
      this.host = host;
      return this;
    }

    /**
     * Sets the place.
     *
     * @param placement instead of the case's
     * @return this
     */
    public TensorOf placement(Placement placement) {
      this.placement = placement;
      return this;
    }

    /**
     * Makes a tensor that launches only read.
     *
     * @return the tensor
     */
    public Operand input() {
      return make(Operand.Role.INPUT);
    }

    /**
     * Makes a tensor that launches write, poisoned.
     *
     * @return the tensor
     */
    public Operand output() {
      return make(Operand.Role.OUTPUT);
    }

    /**
     * Makes a tensor that launches read and write.
     *
     * @return the tensor; on the reference side it keeps its first content
     */
    public Operand inout() {
      return make(Operand.Role.INOUT);
    }

    private Operand make(Operand.Role role) {
      CaseMemory.Place place = memory.place(type, shape, placement);
      Operand operand = put(role, place);
      place.slab().upload(stream);
      return operand;
    }

    private Operand put(Operand.Role role, CaseMemory.Place place) {
      HostTensor content = HostTensor.allocate(type, shape);
      HostTensor given = host;
      if (role == Operand.Role.OUTPUT) {
        Bits.fill(content, Bits.poison(type));
      } else if (given != null) {
        if (given.dataType() != type || !Arrays.equals(given.shape(), shape)) {
          throw new IllegalArgumentException(name + ": expected " + content + ", but was " + given);
        }
        content = given;
      } else {
        values.fill(content, draw.of(name));
      }
      Tensor mirror = keep(reference.device().upload(content));
      Operand operand = new Operand(name, role, place.slab(), place.view(), mirror);
      operand.scatter(content, place.slab().content);
      return operand;
    }
  }

  // ---- launches ----

  /**
   * Launches and waits, twice: on the case's stream, and on another with everything put back, where
   * the device has graphs as the replay of a capture. Both must leave the same bits. Nothing but
   * outputs may change.
   *
   * @param body enqueues on the stream it gets, and does not wait
   */
  public void launch(Consumer<Stream> body) {
    launchOnce(body);
    memory.putBack(stream);
    Stream second = otherStream();
    String how;
    if (replays) {
      // The first launch grew the stream's scratch, so the capture needs no more.
      try (Graph graph = stream.capture(body)) {
        graph.launch(second);
        second.synchronize();
      }
      how = "a replay on another stream";
    } else {
      body.accept(second);
      second.synchronize();
      how = "a second launch on another stream";
    }
    memory.requireSame(stream, how);
  }

  /**
   * Launches and waits, once: for what need not be repeatable, or cannot be captured.
   *
   * @param body enqueues on the stream it gets
   */
  public void launchOnce(Consumer<Stream> body) {
    body.accept(stream);
    stream.synchronize();
    memory.acceptLaunch(stream);
  }

  private Stream otherStream() {
    Stream other = otherStream;
    if (other == null) {
      other = keep(tested.device().newStream());
      otherStream = other;
    }
    return other;
  }

  /**
   * Makes outputs inputs of what follows: later launches may not write them, and the reference side
   * gets the very bits that the device under test left.
   *
   * @param operands outputs, after the launch that wrote them
   */
  public void settle(Operand... operands) {
    for (Operand operand : operands) {
      Stream referenceStream = reference.device().defaultStream();
      referenceStream.upload(read(operand), operand.on(false));
      referenceStream.synchronize();
      operand.settle();
    }
  }

  /**
   * Overwrites an input on both devices, for what follows.
   *
   * @param operand the tensor
   * @param values of its type and shape
   */
  public void overwrite(Operand operand, HostTensor values) {
    Slab slab = operand.slab();
    slab.overwrite(operand, values);
    slab.upload(stream);
    Stream referenceStream = reference.device().defaultStream();
    referenceStream.upload(values, operand.on(false));
    referenceStream.synchronize();
  }

  /**
   * Returns what a tensor holds on the device under test since the last launch.
   *
   * @param operand the tensor
   * @return a dense copy
   */
  public HostTensor read(Operand operand) {
    return operand.gather(operand.slab().content);
  }

  // ---- checks ----

  /**
   * Holds an output to the tolerance law: elementwise, and normwise in the random family. Bounds of
   * 0 mean bit for bit, infinite ones anything but NaN, NaN ones that nothing was written.
   *
   * @param got the output
   * @param expected what the oracle says of it
   */
  public void check(Operand got, @Nullable Expected expected) {
    compare(got, expected, false);
  }

  /**
   * Holds an output to the oracle's values, rounded once to storage.
   *
   * @param got the output
   * @param expected what the oracle says of it; its bounds are ignored but for NaN (nothing
   *     written) and infinity (anything but NaN)
   */
  public void checkExact(Operand got, @Nullable Expected expected) {
    compare(got, expected, true);
  }

  private void compare(Operand got, @Nullable Expected expected, boolean exact) {
    if (expected == null) {
      throw new IllegalStateException("the oracle says nothing of " + got.name());
    }
    take(
        Comparison.of(
            got.name(),
            read(got),
            got.gather(got.slab().before),
            expected,
            exact,
            testCase.family() == Family.RANDOM));
  }

  /**
   * Holds an output to bits, NaN payloads and signs of zero included.
   *
   * @param got the output
   * @param expected of its type and shape
   */
  public void checkBits(Operand got, HostTensor expected) {
    take(Comparison.bits(got.name(), read(got), expected));
  }

  /**
   * Demands something.
   *
   * @param condition what must hold
   * @param message what is wrong otherwise, with the numbers
   */
  public void require(boolean condition, String message) {
    checks++;
    if (!condition) {
      throw new ConformanceFailure(message);
    }
  }

  /**
   * Demands something.
   *
   * @param condition what must hold
   * @param message says what is wrong otherwise, with the numbers
   */
  public void require(boolean condition, Supplier<String> message) {
    checks++;
    if (!condition) {
      throw new ConformanceFailure(message.get());
    }
  }

  /**
   * Demands that a call throws.
   *
   * @param type what it must throw
   * @param call the call
   * @param fragments what the message must contain
   * @param <T> what it must throw
   * @return what it threw
   */
  public <T extends Throwable> T requireThrows(Class<T> type, Runnable call, String... fragments) {
    Throwable thrown = null;
    try {
      call.run();
    } catch (Throwable t) {
      thrown = t;
    }
    if (!type.isInstance(thrown)) {
      throw new ConformanceFailure(
          "expected " + type.getSimpleName() + ", but got " + (thrown == null ? "none" : thrown));
    }
    for (String fragment : fragments) {
      require(
          String.valueOf(thrown.getMessage()).contains(fragment),
          "expected '" + fragment + "' in the message of " + thrown);
    }
    checks++;
    return type.cast(thrown);
  }

  /**
   * Demands that there is no fault, such as one of a selection.
   *
   * @param fault what the oracle found
   */
  public void requireNoFault(Optional<String> fault) {
    require(fault.isEmpty(), fault.orElse(""));
  }

  private void take(Comparison comparison) {
    checks++;
    worst = Math.max(worst, comparison.worst());
    if (comparison.fault().isPresent()) {
      throw new ConformanceFailure(comparison.fault().get());
    }
  }

  double worst() {
    return worst;
  }

  int checks() {
    return checks;
  }

  /** Closes everything, youngest first; says what stayed open. */
  Set<String> close(Set<String> openBefore) {
    RuntimeException failure = null;
    while (!open.isEmpty()) {
      try {
        open.pop().close();
      } catch (Exception e) {
        failure = failure == null ? new IllegalStateException("close failed: " + e, e) : failure;
      }
    }
    if (failure != null) {
      throw failure;
    }
    Set<String> left = new LinkedHashSet<>(tested.device().openObjects());
    left.removeAll(openBefore);
    return left;
  }
}
