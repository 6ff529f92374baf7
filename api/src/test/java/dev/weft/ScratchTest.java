package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.fake.FakeProvider;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Scratch belongs to the stream: reserved, grown or lent. */
class ScratchTest {
  private final FakeProvider provider = new FakeProvider();
  private final Attention attention = new Attention(provider);
  private final Device device = attention.device;
  private final Stream stream = attention.stream;

  @AfterEach
  void theApiUsedTheBackendWell() {
    device.close();
    assertEquals(List.of(), attention.fake.violations());
  }

  @Test
  void aKernelThatNeedsNoneGetsNone() {
    attention.launch();
    assertTrue(attention.fake.log().contains("moba.forward scratch 0@0"));
  }

  @Test
  void oneArenaServesAllLaunchesOfAStream() {
    attention.fake.workspace(1000);
    attention.launch();
    attention.fake.workspace(600);
    attention.launch();
    assertEquals(
        1,
        attention.fake.alive().stream().filter("memory 1024"::equals).count(),
        "a multiple of 256");
    assertTrue(attention.fake.log().contains("moba.forward scratch 1000@0"));
    assertTrue(attention.fake.log().contains("moba.forward scratch 600@0"));
  }

  @Test
  void afterReserveLaunchesAllocateNothing() {
    attention.fake.workspace(1000);
    stream.reserve(attention.kernel.workspaceBytes(Limits.of(6, 2)));
    attention.fake.failNext("allocate", () -> new AssertionError("allocated"));
    attention.launch();
    stream.synchronize();
    assertThrows(ProviderException.class, () -> device.allocate(DataType.F32, 1));
  }

  @Test
  void outgrownScratchLivesUntilItsLaunchesAreDone() {
    attention.fake.workspace(256);
    attention.launch();
    attention.fake.workspace(512);
    attention.launch();
    assertTrue(attention.fake.alive().containsAll(List.of("memory 256", "memory 512")));
    stream.synchronize();
    assertFalse(attention.fake.alive().contains("memory 256"));
  }

  @Test
  void aLoanIsUsedFromItsOffsetAndIsTooSmallAboveItsSize() {
    try (Tensor scratch = device.allocate(DataType.U8, 1024)) {
      stream.lend(scratch.slice(0, 256, 1024));
      attention.fake.workspace(768);
      attention.launch();
      assertTrue(attention.fake.log().contains("moba.forward scratch 768@256"));
      attention.fake.workspace(769);
      IllegalStateException e = assertThrows(IllegalStateException.class, attention::launch);
      assertMentions(e, "769", "768");
      stream.lend(null);
      attention.launch();
      stream.synchronize();
    }
  }

  @Test
  void aLoanThatIsClosedIsRefused() {
    Tensor scratch = device.allocate(DataType.U8, 1024);
    stream.lend(scratch);
    scratch.close();
    attention.fake.workspace(512);
    assertThrows(IllegalStateException.class, attention::launch);
    assertThrows(IllegalStateException.class, () -> stream.lend(scratch));
    stream.lend(null);
    attention.launch();
  }

  @Test
  void aLoanMustBeContiguousAlignedAndOfTheDevice() {
    try (Tensor scratch = device.allocate(DataType.U8, 4, 512);
        Device second = new FakeProvider().open();
        Tensor foreign = second.allocate(DataType.U8, 512)) {
      assertThrows(IllegalArgumentException.class, () -> stream.lend(scratch.slice(1, 0, 256)));
      assertThrows(
          IllegalArgumentException.class,
          () -> stream.lend(scratch.reshape(2048).slice(0, 8, 520)));
      assertThrows(IllegalArgumentException.class, () -> stream.lend(foreign));
    }
  }

  @Test
  void aLoanOfWrappedMemoryIsAlignedWhereItsBytesAre() {
    try (Tensor scratch = device.wrap(attention.fake.misaligned(1024, 64), DataType.U8, 1024)) {
      assertMentions(
          assertThrows(IllegalArgumentException.class, () -> stream.lend(scratch)),
          "memory that starts at byte 64");
      stream.lend(scratch.slice(0, 192, 704));
      stream.lend(null);
    }
  }

  @Test
  void aLaunchMayNotNameTheScratchThatItIsLent() {
    stream.lend(attention.q);
    attention.fake.workspace(256);
    IllegalArgumentException e = assertThrows(IllegalArgumentException.class, attention::launch);
    assertMentions(e, "scratch lent", "q (");
    stream.lend(null);
  }

  @Test
  void reserveRefusesNegativeSizes() {
    assertThrows(IllegalArgumentException.class, () -> stream.reserve(-1));
    stream.reserve(0);
  }

  @Test
  void scratchThatTheBackendMakesUpIsTheProvidersFault() {
    attention.fake.workspace(-5);
    ProviderException e = assertThrows(ProviderException.class, attention::launch);
    assertMentions(e, "-5");
  }

  @Test
  void workspaceBytesRefusesModesThatWereNotPrepared() {
    IllegalArgumentException e =
        assertThrows(
            IllegalArgumentException.class,
            () ->
                attention.kernel.workspaceBytes(
                    dev.weft.moba.MobaAttentionSpec.Mode.BACKWARD, Limits.of(1, 1)));
    assertMentions(e, "add BACKWARD");
    assertThrows(IllegalArgumentException.class, () -> Limits.of(-1, 0));
  }
}
