package dev.weft.backend.opencl.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Where each tier of {@code common/matrix.clh} believes that a unit leaves its sums, read from the
 * sources themselves: most of those units cannot be run where this is.
 */
class FragmentLayoutTest {
  private static final int BLOCK = 16;

  @ParameterizedTest
  @CsvSource({"mma.clh, 1, 32", "mfma.clh, 2, 64", "wmma.clh, 3, 32", "wmma.clh, 4, 32"})
  void everySumOfABlockIsHeldByOneWorkItem(String header, int units, int wave) throws IOException {
    Layout layout = layout(header);
    Set<Integer> places = new HashSet<>();
    for (int lane = 0; lane < wave; lane++) {
      for (int e = 0; e < BLOCK * BLOCK / wave; e++) {
        int row = layout.row(e, lane, units);
        int col = layout.col(e, lane, units);
        assertTrue(row >= 0 && row < BLOCK && col >= 0 && col < BLOCK, row + ", " + col);
        places.add(row * BLOCK + col);
      }
    }
    assertEquals(BLOCK * BLOCK, places.size());
  }

  @ParameterizedTest
  @CsvSource({"mma.clh, 1, 32", "mfma.clh, 2, 64", "wmma.clh, 4, 32"})
  void sumsComeInPairsOfNeighbouringColumns(String header, int units, int wave) throws IOException {
    Layout layout = layout(header);
    for (int lane = 0; lane < wave; lane++) {
      for (int e = 0; e < BLOCK * BLOCK / wave; e += 2) {
        assertEquals(layout.row(e, lane, units), layout.row(e + 1, lane, units));
        assertEquals(0, layout.col(e, lane, units) % 2);
        assertEquals(layout.col(e, lane, units) + 1, layout.col(e + 1, lane, units));
      }
    }
  }

  /** PTX ISA, "Matrix Fragments for mma.m16n8k16", the accumulators, twice. */
  @ParameterizedTest
  @CsvSource({"0,0,0,0", "1,5,1,3", "2,5,9,2", "4,31,7,14", "7,31,15,15"})
  void mmaHasTheLayoutOfPtx(int e, int lane, int row, int col) throws IOException {
    Layout layout = layout("mma.clh");
    assertEquals(row, layout.row(e, lane, 1));
    assertEquals(col, layout.col(e, lane, 1));
  }

  /**
   * AMD's documents give D[i][j], of which the kernels take the transpose: a lane's register e is i
   * = 4 (lane / 16) + e for MFMA, 2 e + lane / 16 on gfx11, e + 8 (lane / 16) on gfx12; j is lane %
   * 16.
   */
  @ParameterizedTest
  @CsvSource({"mfma.clh, 2, 64", "wmma.clh, 3, 32", "wmma.clh, 4, 32"})
  void amdHasTheTransposedLayoutOfItsDocuments(String header, int units, int wave)
      throws IOException {
    Layout layout = layout(header);
    for (int lane = 0; lane < wave; lane++) {
      for (int e = 0; e < BLOCK * BLOCK / wave; e++) {
        int i =
            switch (units) {
              case 2 -> 4 * (lane / 16) + e;
              case 3 -> 2 * e + lane / 16;
              default -> e + 8 * (lane / 16);
            };
        assertEquals(lane % 16, layout.row(e, lane, units));
        assertEquals(i, layout.col(e, lane, units));
      }
    }
  }

  private record Layout(String rowText, String colText) {
    int row(int e, int lane, int units) {
      return new Expression(rowText, Map.of("e", e, "lane", lane, "UNITS", units)).value();
    }

    int col(int e, int lane, int units) {
      return new Expression(colText, Map.of("e", e, "lane", lane, "UNITS", units)).value();
    }
  }

  private static Layout layout(String header) throws IOException {
    try (InputStream in =
        Objects.requireNonNull(
            FragmentLayoutTest.class.getResourceAsStream(
                "/dev/weft/backend/opencl/common/" + header))) {
      String text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
      return new Layout(body(text, "block_row"), body(text, "block_col"));
    }
  }

  private static String body(String text, String function) {
    Matcher matcher =
        Pattern.compile(function + "\\(int e, int lane\\) \\{ return ([^;]+); \\}").matcher(text);
    assertTrue(matcher.find(), function);
    return matcher.group(1);
  }

  /** The few operators of C that the layouts are written with. */
  private static final class Expression {
    private final Matcher tokens;
    private final Map<String, Integer> variables;
    private String next = "";

    Expression(String text, Map<String, Integer> variables) {
      this.tokens = Pattern.compile("\\w+|==|[-+*/%?:()]").matcher(text);
      this.variables = variables;
    }

    int value() {
      advance();
      int value = choice();
      assertEquals("", next);
      return value;
    }

    private void advance() {
      next = tokens.find() ? tokens.group() : "";
    }

    private int choice() {
      int condition = equality();
      if (!next.equals("?")) {
        return condition;
      }
      advance();
      int yes = choice();
      assertEquals(":", next);
      advance();
      int no = choice();
      return condition != 0 ? yes : no;
    }

    private int equality() {
      int left = sum();
      if (!next.equals("==")) {
        return left;
      }
      advance();
      return left == sum() ? 1 : 0;
    }

    private int sum() {
      int left = product();
      while (next.equals("+") || next.equals("-")) {
        boolean plus = next.equals("+");
        advance();
        int right = product();
        left = plus ? left + right : left - right;
      }
      return left;
    }

    private int product() {
      int left = factor();
      while (next.equals("*") || next.equals("/") || next.equals("%")) {
        String operator = next;
        advance();
        int right = factor();
        left =
            switch (operator) {
              case "*" -> left * right;
              case "/" -> left / right;
              default -> left % right;
            };
      }
      return left;
    }

    private int factor() {
      String token = next;
      advance();
      if (token.equals("(")) {
        int value = choice();
        assertEquals(")", next);
        advance();
        return value;
      }
      Integer variable = variables.get(token);
      return variable != null ? variable : Integer.parseInt(token);
    }
  }
}
