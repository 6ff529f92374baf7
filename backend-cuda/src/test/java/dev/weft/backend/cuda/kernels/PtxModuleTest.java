package dev.weft.backend.cuda.kernels;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

/** Cutting a kernel out of a module, which needs no GPU. */
class PtxModuleTest {
  private static final String MODULE =
      """
      .version 8.4
      .func helper(
      \t.param .b32 p
      )
      {
      \tret;
      }
      .visible .entry one(
      \t.param .b64 p
      )
      .maxntid 128, 1, 1
      {
      \t{ mov.u32 %r1, 1;
      \t}
      \tret;

      }
      \t// .globl\ttwo
      .visible .entry one_more(
      )
      {
      \tret;
      }
      .shared .align 4 .b8 shared[4];
      """;

  @Test
  void keepsOneKernelAndWhatAllShare() {
    assertEquals(
        """
        .version 8.4
        .func helper(
        \t.param .b32 p
        )
        {
        \tret;
        }
        \t// .globl\ttwo
        .visible .entry one_more(
        )
        {
        \tret;
        }
        .shared .align 4 .b8 shared[4];
        """,
        PtxModule.only("one_more", MODULE));
    String one = PtxModule.only("one", MODULE);
    assertTrue(one.contains("%r1, 1;\n\t}\n\tret;\n\n}\n"), one);
    assertTrue(!one.contains("one_more") && one.contains("helper") && one.contains("shared"), one);
  }

  @Test
  void refusesAKernelThatIsNotThere() {
    assertThrows(IllegalStateException.class, () -> PtxModule.only("on", MODULE));
  }

  @Test
  void everyKernelOfEveryModuleCanBeCutOut() {
    KernelManifest manifest = KernelManifest.read();
    for (KernelManifest.Kernel kernel : manifest.kernels().values()) {
      if (manifest.architectures(kernel.module()).contains("ptx")) {
        String module =
            new String(manifest.image(kernel.module(), "ptx"), StandardCharsets.US_ASCII);
        String only = PtxModule.only(kernel.name(), module);
        assertEquals(2, only.split("\\.visible \\.entry ", -1).length, kernel.name());
        assertTrue(only.contains("\n.visible .entry " + kernel.name() + '('), kernel.name());
      }
    }
  }
}
