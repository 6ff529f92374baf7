package dev.weft;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** JFR: a spec was compiled. */
@Name("dev.weft.Prepare")
@Label("Prepare")
@Category("Weft")
@Description("A spec was compiled for a device")
@StackTrace(false)
final class PrepareEvent extends jdk.jfr.Event {
  @Label("Device")
  String device = "";

  @Label("Spec")
  String spec = "";
}
