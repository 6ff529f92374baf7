package dev.weft.backend.opencl.programs;

import java.nio.file.Path;
import java.util.List;

/** Stores a program in the folder that is the argument, twice, and says whether it is found. */
final class StoreInAProcess {
  private StoreInAProcess() {}

  public static void main(String[] arguments) {
    ProgramCache cache = ProgramCache.in(Path.of(arguments[0]));
    String key = ProgramCache.key(List.of("source"));
    for (int i = 0; i < 2; i++) {
      cache.store(key, new byte[1 << 20]);
      System.out.println("found: " + cache.find(key).isPresent());
    }
  }
}
