package dev.weft.moe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Tensor;
import dev.weft.fake.FakeProvider;
import java.util.List;
import java.util.function.BiFunction;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/**
 * What a call may leave out is given by itself: no other option changes, nor the arguments before.
 */
class MoeOptionsTest {
  private final FakeProvider provider = new FakeProvider();
  private final Device device = provider.open();
  private final Tensor some = device.allocate(DataType.F32, 1);

  /** How an option is given, and read. */
  private record Option<A>(
      BiFunction<A, @Nullable Tensor, A> give, Function<A, @Nullable Tensor> read) {}

  @AfterEach
  void close() {
    device.close();
  }

  private <A> void eachIsGivenByItself(A none, List<Option<A>> options) {
    for (Option<A> option : options) {
      A given = option.give.apply(none, some);
      for (Option<A> other : options) {
        assertNull(other.read.apply(none));
        assertEquals(other.equals(option) ? some : null, other.read.apply(given));
      }
      assertNull(option.read.apply(option.give.apply(given, null)));
    }
    A all = none;
    for (Option<A> option : options) {
      all = option.give.apply(all, some);
    }
    for (Option<A> option : options) {
      assertSame(some, option.read.apply(all));
    }
  }

  @Test
  void weights() {
    eachIsGivenByItself(
        MoeWeights.of(some),
        List.<Option<MoeWeights>>of(
            new Option<>(MoeWeights::gateUp, MoeWeights::gateUp),
            new Option<>(MoeWeights::gate, MoeWeights::gate),
            new Option<>(MoeWeights::up, MoeWeights::up),
            new Option<>(MoeWeights::gateUpBias, MoeWeights::gateUpBias),
            new Option<>(MoeWeights::downBias, MoeWeights::downBias),
            new Option<>(MoeWeights::routerWeight, MoeWeights::routerWeight),
            new Option<>(MoeWeights::routerBias, MoeWeights::routerBias),
            new Option<>(MoeWeights::correctionBias, MoeWeights::correctionBias),
            new Option<>(MoeWeights::sharedGateUp, MoeWeights::sharedGateUp),
            new Option<>(MoeWeights::sharedDown, MoeWeights::sharedDown),
            new Option<>(MoeWeights::sharedGateWeight, MoeWeights::sharedGateWeight)));
  }

  private MoeBinding binding() {
    MoeDispatchSpec spec =
        MoeDispatchSpec.builder()
            .dataType(DataType.F32)
            .hidden(1)
            .intermediate(1)
            .experts(1)
            .topK(1)
            .router(RouterSpec.builder().source(RouterSpec.Source.GIVEN).build())
            .build();
    MoeWeights weights =
        MoeWeights.of(device.allocate(DataType.F32, 1, 1, 1))
            .gateUp(device.allocate(DataType.F32, 1, 2, 1));
    return device.prepare(spec).bind(weights);
  }

  @Test
  void forward() {
    eachIsGivenByItself(
        MoeForward.of(binding(), some, some),
        List.<Option<MoeForward>>of(
            new Option<>(MoeForward::givenLogits, MoeForward::givenLogits),
            new Option<>(MoeForward::givenIds, MoeForward::givenIds),
            new Option<>(MoeForward::givenWeights, MoeForward::givenWeights),
            new Option<>(MoeForward::tokenCount, MoeForward::tokenCount),
            new Option<>(MoeForward::ids, MoeForward::ids),
            new Option<>(MoeForward::routingWeights, MoeForward::routingWeights),
            new Option<>(MoeForward::logits, MoeForward::logits),
            new Option<>(MoeForward::counts, MoeForward::counts)));
  }

  @Test
  void backward() {
    eachIsGivenByItself(
        MoeBackward.of(binding(), some, some, MoeSaved.of(some, some, some)),
        List.<Option<MoeBackward>>of(
            new Option<>(MoeBackward::tokenCount, MoeBackward::tokenCount),
            new Option<>(MoeBackward::auxiliaryDlogits, MoeBackward::auxiliaryDlogits),
            new Option<>(MoeBackward::dx, MoeBackward::dx),
            new Option<>(MoeBackward::dlogits, MoeBackward::dlogits),
            new Option<>(MoeBackward::dgivenWeights, MoeBackward::dgivenWeights),
            new Option<>(MoeBackward::drouterWeight, MoeBackward::drouterWeight),
            new Option<>(MoeBackward::drouterBias, MoeBackward::drouterBias),
            new Option<>(MoeBackward::dgateUp, MoeBackward::dgateUp),
            new Option<>(MoeBackward::dgate, MoeBackward::dgate),
            new Option<>(MoeBackward::dup, MoeBackward::dup),
            new Option<>(MoeBackward::ddown, MoeBackward::ddown),
            new Option<>(MoeBackward::dgateUpBias, MoeBackward::dgateUpBias),
            new Option<>(MoeBackward::ddownBias, MoeBackward::ddownBias),
            new Option<>(MoeBackward::dsharedGateUp, MoeBackward::dsharedGateUp),
            new Option<>(MoeBackward::dsharedDown, MoeBackward::dsharedDown),
            new Option<>(MoeBackward::dsharedGateWeight, MoeBackward::dsharedGateWeight)));
  }
}
