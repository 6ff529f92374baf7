package dev.weft;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Label;
import jdk.jfr.Name;

/** JFR: a stream's scratch had to grow; {@link Stream#reserve} avoids it. */
@Name("dev.weft.WorkspaceGrowth")
@Label("Workspace Growth")
@Category("Weft")
@Description("A stream's scratch memory had to grow; Stream.reserve avoids it")
final class WorkspaceGrowthEvent extends jdk.jfr.Event {
  @Label("Device")
  String device = "";

  @Label("Stream")
  String stream = "";

  @Label("Before")
  @DataAmount
  long before;

  @Label("After")
  @DataAmount
  long after;

  @Label("For")
  String launch = "";

  static void emit(String device, String stream, long before, long after, String launch) {
    WorkspaceGrowthEvent event = new WorkspaceGrowthEvent();
    if (event.isEnabled()) {
      event.device = device;
      event.stream = stream;
      event.before = before;
      event.after = after;
      event.launch = launch;
      event.commit();
    }
  }
}
