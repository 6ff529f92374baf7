package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.weft.fake.FakeProvider;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.SpiVersion;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/**
 * A third party's operation gets the same wrapper, errors and events; new options need a new minor.
 */
class OpenOperationTest {
  /** What a backend of the operation implements. */
  private interface ScaleKernel extends BackendKernel {
    void scale(LaunchContext context, Tensor x, Tensor y, float factor);
  }

  /** What its users call. */
  private static final class Scale extends Kernel<ScaleKernel> {
    Scale(Prepared prepared) {
      super(prepared, ScaleKernel.class);
    }

    @Override
    public long workspaceBytes(Limits limits) {
      return 0;
    }

    void scale(Stream stream, Tensor x, Tensor y, float factor) {
      Launch launch =
          Launch.of("acme.scale")
              .read("x", x, DataType.F32, Launch.ANY)
              .write("y", y, DataType.F32, x.size(0))
              .mayAlias("x", "y");
      launch(stream, launch, (kernel, context) -> kernel.scale(context, x, y, factor));
    }
  }

  private static final class ScaleSpec extends OperationSpec<Scale> {
    private final String mode;

    ScaleSpec(String mode) {
      this.mode = mode;
    }

    @Override
    public String operation() {
      return "acme.scale";
    }

    @Override
    protected void describe(Description description) {
      description
          .option("always", 1)
          .option("plain", "off", "off")
          .option("mode", mode, "fast", new SpiVersion(1, 1));
    }

    @Override
    protected Scale wrap(Prepared prepared) {
      return new Scale(prepared);
    }
  }

  /** Another operation of the same text. */
  private static final class OtherSpec extends OperationSpec<Scale> {
    @Override
    public String operation() {
      return "acme.scale";
    }

    @Override
    protected void describe(Description description) {
      description.option("always", 1);
    }

    @Override
    protected Scale wrap(Prepared prepared) {
      return new Scale(prepared);
    }
  }

  @Test
  void anOptionNewerThanTheProvidersMinorIsANoOfTheApis() {
    FakeProvider provider = new FakeProvider().version(1, 0);
    try (Device device = provider.open()) {
      ScaleSpec newer = new ScaleSpec("slow");
      provider.device().failNext("supports", () -> new AssertionError("the backend was asked"));
      Support support = device.supports(newer);
      assertFalse(support.isSupported());
      assertEquals(
          "mode=slow came with SPI 1.1, and provider 'fake' was written for 1.0", support.reason());
      assertMentions(
          assertThrows(UnsupportedSpecException.class, () -> device.prepare(newer)), "mode=slow");
      assertMentions(
          assertThrows(ProviderException.class, () -> device.supports(new ScaleSpec("fast"))),
          "the backend was asked");
    }
  }

  @Test
  void textsNameWhatIsNotAtItsDefaultAndDecideEquality() {
    assertEquals("acme.scale[always=1]", new ScaleSpec("fast").text());
    assertEquals("acme.scale[always=1,mode=slow]", new ScaleSpec("slow").text());
    assertEquals(new SpiVersion(1, 0), new ScaleSpec("fast").requiredSpi());
    assertEquals("acme.scale", new ScaleSpec("fast").newestOption());
    assertEquals(new SpiVersion(1, 1), new ScaleSpec("slow").requiredSpi());
    assertEquals(new ScaleSpec("slow"), new ScaleSpec("slow"));
    assertEquals(new ScaleSpec("slow").hashCode(), new ScaleSpec("slow").hashCode());
    assertNotEquals(new ScaleSpec("slow"), new ScaleSpec("fast"));
    assertNotEquals(new ScaleSpec("fast"), new OtherSpec(), "two classes are two operations");
  }

  @Test
  void itsLaunchesAreCheckedLikeAllOthers() {
    FakeProvider provider = new FakeProvider();
    try (Device device = provider.open();
        Tensor x = device.allocate(DataType.F32, 4);
        Tensor y = device.allocate(DataType.F32, 4)) {
      List<String> calls = new ArrayList<>();
      ScaleKernel backend = (context, a, b, factor) -> calls.add(a + " by " + factor);
      provider.device().nextKernel(backend);
      try (Scale scale = device.prepare(new ScaleSpec("fast"))) {
        scale.scale(device.defaultStream(), x, y, 2);
        scale.scale(device.defaultStream(), x, x, 3);
        assertEquals(List.of("f32[4] by 2.0", "f32[4] by 3.0"), calls);
        assertMentions(
            assertThrows(
                IllegalArgumentException.class,
                () -> scale.scale(device.defaultStream(), x, y.slice(0, 0, 3), 2)),
            "acme.scale: y: expected f32[4], but was f32[3]");
        assertMentions(
            assertThrows(
                IllegalArgumentException.class,
                () -> scale.scale(device.defaultStream(), x.slice(0, 0, 3), x.slice(0, 1, 4), 2)),
            "x (f32[3])",
            "y (f32[3])",
            "overlap");
        assertMentions(
            assertThrows(
                IllegalArgumentException.class,
                () -> scale.scale(device.defaultStream(), x.reshape(2, 2), y, 2)),
            "x: expected f32[*], but was f32[2, 2]");
      }
    }
  }
}
