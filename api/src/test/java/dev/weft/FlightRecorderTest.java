package dev.weft;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.fake.FakeProvider;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Prepare, launch, allocation and growth are seen in a flight recording. */
class FlightRecorderTest {
  @TempDir Path folder;

  @Test
  void eventsTellWhatHappened() throws IOException {
    Path file = folder.resolve("weft.jfr");
    try (Recording recording = new Recording()) {
      for (String event : List.of("Prepare", "Launch", "Allocation", "WorkspaceGrowth")) {
        recording.enable("dev.weft." + event);
      }
      recording.start();
      Attention attention = new Attention(new FakeProvider());
      try (Device _ = attention.device) {
        attention.fake.workspace(300);
        attention.launch();
        attention.fake.workspace(600);
        attention.launch();
      }
      recording.stop();
      recording.dump(file);
    }
    List<RecordedEvent> events = RecordingFile.readAllEvents(file);
    List<RecordedEvent> prepared = of(events, "Prepare");
    assertEquals(1, prepared.size());
    assertEquals("fake:0", prepared.getFirst().getString("device"));
    assertEquals(Attention.SPEC.text(), prepared.getFirst().getString("spec"));
    List<RecordedEvent> launches = of(events, "Launch");
    assertEquals(2, launches.size());
    assertEquals("moba.forward", launches.getFirst().getString("launch"));
    assertEquals(Attention.SPEC.text(), launches.getFirst().getString("spec"));
    assertEquals(600, launches.getLast().getLong("workspaceBytes"));
    List<RecordedEvent> allocations = of(events, "Allocation");
    assertEquals(5 + 2, allocations.size(), "five tensors, two arenas");
    assertEquals("tensor f32[6, 2, 8]", allocations.getFirst().getString("purpose"));
    assertEquals(384, allocations.getFirst().getLong("bytes"));
    List<RecordedEvent> growths = of(events, "WorkspaceGrowth");
    assertEquals(2, growths.size());
    assertEquals(512, growths.getLast().getLong("before"));
    assertEquals(768, growths.getLast().getLong("after"));
    assertEquals("moba.forward", growths.getLast().getString("launch"));
    assertTrue(growths.getLast().getString("stream").contains("default stream"));
  }

  private static List<RecordedEvent> of(List<RecordedEvent> events, String name) {
    return events.stream()
        .filter(e -> e.getEventType().getName().equals("dev.weft." + name))
        .sorted(java.util.Comparator.comparing(RecordedEvent::getEndTime))
        .toList();
  }
}
