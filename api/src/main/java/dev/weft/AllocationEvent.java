package dev.weft;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Label;
import jdk.jfr.Name;

/** JFR: device memory was allocated. */
@Name("dev.weft.Allocation")
@Label("Device Memory Allocation")
@Category("Weft")
@Description("Device memory was allocated")
final class AllocationEvent extends jdk.jfr.Event {
  @Label("Device")
  String device = "";

  @Label("Purpose")
  String purpose = "";

  @Label("Size")
  @DataAmount
  long bytes;
}
