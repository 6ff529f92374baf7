package dev.weft.cli;

import java.io.IOException;
import java.io.InputStream;
import java.util.Properties;
import picocli.CommandLine.IVersionProvider;

/** Versions, from what Maven leaves in each jar. */
final class Versions implements IVersionProvider {
  /** For picocli. */
  Versions() {}

  @Override
  public String[] getVersion() {
    return new String[] {"weft " + of("dev.weft", "weft-cli"), "Java " + Runtime.version()};
  }

  /** The version of a jar on the class path or module path; where there is none, says so. */
  static String of(String group, String artifact) {
    String name = "META-INF/maven/" + group + "/" + artifact + "/pom.properties";
    try (InputStream in = Versions.class.getClassLoader().getResourceAsStream(name)) {
      if (in == null) {
        return "(unpacked)";
      }
      Properties properties = new Properties();
      properties.load(in);
      return properties.getProperty("version", "(unknown)");
    } catch (IOException e) {
      return "(unknown)";
    }
  }
}
