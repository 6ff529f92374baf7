package dev.weft.gpu;

import java.util.Collections;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Names a kernel. All kernels of one source and one set of constants are compiled together.
 *
 * @param source the source without its suffix, such as {@code moba/attend}
 * @param function the entry point in it
 * @param constants what it is compiled with: macros, or specialisation constants
 */
public record KernelName(String source, String function, SortedMap<String, Integer> constants) {
  /** Copies the constants. */
  public KernelName {
    constants = Collections.unmodifiableSortedMap(new TreeMap<>(constants));
  }

  /** A kernel that is compiled without constants. */
  public static KernelName of(String source, String function) {
    return new KernelName(source, function, Collections.emptySortedMap());
  }

  /** The same with one more constant, or another value of it. */
  public KernelName with(String name, int value) {
    SortedMap<String, Integer> more = new TreeMap<>(constants);
    more.put(name, value);
    return new KernelName(source, function, more);
  }

  /** Another entry point of the same source, compiled with the same constants. */
  public KernelName function(String other) {
    return new KernelName(source, other, constants);
  }

  /** Such as {@code moba/attend:attend{TYPE=2}}. */
  @Override
  public String toString() {
    return source + ":" + function + constants;
  }
}
