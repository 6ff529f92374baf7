package dev.weft.backend.vulkan.shaders;

import java.util.Map;
import java.util.TreeMap;

/**
 * A SPIR-V module, as the build's index describes it.
 *
 * @param file its file beside the index
 * @param hash of its source and compiler
 * @param groupSize work-items of a group
 * @param pushed whether its arguments travel in push constants, or else in a buffer
 * @param source the source without its suffix
 * @param function which kernel of the source it is
 * @param compiled the constants that it was compiled with
 * @param specialised the ids of its specialisation constants
 */
record ShaderModule(
    String file,
    String hash,
    int groupSize,
    boolean pushed,
    String source,
    String function,
    Map<String, Integer> compiled,
    Map<String, Integer> specialised) {

  /** Reads a line of the index; see CompileShaders. */
  static ShaderModule of(String line) {
    String[] words = line.split(" ", -1);
    Map<String, Integer> compiled = new TreeMap<>();
    Map<String, Integer> specialised = new TreeMap<>();
    for (int i = 6; i < words.length; i++) {
      String word = words[i];
      int equals = word.indexOf('=');
      if (equals > 0) {
        compiled.put(word.substring(0, equals), Integer.valueOf(word.substring(equals + 1)));
      } else {
        int at = word.indexOf('@');
        specialised.put(word.substring(0, at), Integer.valueOf(word.substring(at + 1)));
      }
    }
    return new ShaderModule(
        words[0],
        words[1],
        Integer.parseInt(words[2]),
        words[3].equals("pushed"),
        words[4],
        words[5],
        compiled,
        specialised);
  }
}
