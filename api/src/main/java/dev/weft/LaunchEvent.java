package dev.weft;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** JFR: host time spent enqueuing a launch. */
@Name("dev.weft.Launch")
@Label("Launch")
@Category("Weft")
@Description("Host time spent enqueuing a launch")
@StackTrace(false)
final class LaunchEvent extends jdk.jfr.Event {
  @Label("Device")
  String device = "";

  @Label("Launch")
  String launch = "";

  @Label("Spec")
  String spec = "";

  @Label("Scratch")
  @DataAmount
  long workspaceBytes;
}
