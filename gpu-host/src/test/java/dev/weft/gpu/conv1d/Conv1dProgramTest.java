package dev.weft.gpu.conv1d;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import java.util.List;
import org.junit.jupiter.api.Test;

class Conv1dProgramTest {
  private static final DataType[] TYPES = {DataType.F32, DataType.F16, DataType.BF16};

  @Test
  void everySpecHasAFormThatTakesAnything() {
    for (Mode mode : Mode.values()) {
      for (int width = 2; width <= Conv1dProgram.MOST_WIDTH; width++) {
        Conv1dProgram last = Conv1dProgram.of(spec(DataType.BF16, 24, width), mode).getLast();
        assertEquals(1, last.alignment());
        assertTrue(last.taps() >= width);
      }
    }
  }

  @Test
  void widerRowsComeFirst() {
    List<Conv1dProgram> forms = Conv1dProgram.of(spec(DataType.BF16, 24, 4), Mode.FORWARD);
    assertEquals(List.of(16, 4, 1), forms.stream().map(Conv1dProgram::alignment).toList());
    assertEquals(
        List.of(4, 1),
        Conv1dProgram.of(spec(DataType.BF16, 22, 4), Mode.FORWARD).stream()
            .map(Conv1dProgram::alignment)
            .toList());
  }

  @Test
  void theListOfAllHoldsWhatSpecsAskFor() {
    List<Conv1dProgram> all = Conv1dProgram.all();
    for (Mode mode : Mode.values()) {
      for (DataType type : TYPES) {
        for (int width = 2; width <= Conv1dProgram.MOST_WIDTH; width++) {
          assertTrue(all.containsAll(Conv1dProgram.of(spec(type, 8, width), mode)));
        }
      }
    }
  }

  private static CausalConv1dSpec spec(DataType type, int channels, int width) {
    return CausalConv1dSpec.builder().dataType(type).channels(channels).width(width).build();
  }
}
