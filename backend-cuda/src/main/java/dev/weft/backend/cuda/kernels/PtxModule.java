package dev.weft.backend.cuda.kernels;

/**
 * The text of a module in PTX, as nvcc writes it. A driver compiles all of a module that it loads,
 * which takes seconds where a module has dozens of kernels; so each kernel is given to it by
 * itself, when it is first needed.
 */
final class PtxModule {
  private static final String ENTRY = ".visible .entry ";
  private static final String END = "}";

  private PtxModule() {}

  /**
   * A module with one of the kernels and all that kernels share: declarations, functions,
   * variables.
   *
   * @throws IllegalStateException if there is no such kernel
   */
  static String only(String kernel, String module) {
    StringBuilder kept = new StringBuilder();
    boolean found = false;
    boolean skipping = false;
    for (int at = 0; at < module.length(); ) {
      int end = module.indexOf('\n', at) + 1;
      end = end == 0 ? module.length() : end;
      if (module.startsWith(ENTRY, at)) {
        boolean wanted = module.startsWith(kernel + '(', at + ENTRY.length());
        found |= wanted;
        skipping = !wanted;
      }
      if (!skipping) {
        kept.append(module, at, end);
      } else if (module.startsWith(END, at) && module.substring(at, end).trim().equals(END)) {
        skipping = false; // with the body's last line, the only one that begins so
      }
      at = end;
    }
    if (!found) {
      throw new IllegalStateException("no kernel " + kernel + " in its module's PTX");
    }
    return kept.toString();
  }
}
