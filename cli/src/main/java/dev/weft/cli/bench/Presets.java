package dev.weft.cli.bench;

import java.util.ArrayList;
import java.util.List;

/** All shapes that {@code weft bench} knows. */
public final class Presets {
  private Presets() {}

  /**
   * Lists them.
   *
   * @return by operation, the small ones of each first
   */
  public static List<Preset> all() {
    List<Preset> presets = new ArrayList<>(MobaPresets.all());
    presets.addAll(MoePresets.all());
    presets.addAll(Conv1dPresets.all());
    return presets;
  }

  /**
   * Finds presets.
   *
   * @param patterns a name or the start of one each; none for the small ones
   * @return those that match, each once, in the order of {@link #all()}
   * @throws IllegalArgumentException naming a pattern that finds nothing
   */
  public static List<Preset> find(List<String> patterns) {
    List<Preset> all = all();
    for (String pattern : patterns) {
      if (all.stream().noneMatch(p -> p.name().startsWith(pattern))) {
        throw new IllegalArgumentException(
            "PRESET: expected a name that 'weft bench --list' shows, or its start, but was '"
                + pattern
                + "'");
      }
    }
    return all.stream()
        .filter(p -> patterns.isEmpty() ? p.small() : matches(p.name(), patterns))
        .toList();
  }

  /** The full name of one finds only that one, though another may start with it. */
  private static boolean matches(String name, List<String> patterns) {
    List<Preset> all = all();
    return patterns.stream()
        .anyMatch(pattern ->
            all.stream().anyMatch(p -> p.name().equals(pattern))
                ? name.equals(pattern)
                : name.startsWith(pattern));
  }
}
