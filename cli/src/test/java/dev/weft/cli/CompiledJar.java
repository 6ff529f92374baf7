package dev.weft.cli;

import dev.weft.Device;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;
import java.util.spi.ToolProvider;
import java.util.stream.Stream;

/** A jar compiled during a test, of one class that is nowhere else. */
final class CompiledJar {
  private static final String SERVICE = "META-INF/services/dev.weft.spi.KernelProvider";

  private CompiledJar() {}

  /**
   * Compiles a class against weft-api and packs it.
   *
   * @param folder where to; made if absent
   * @param name the class, in package acme, and the jar
   * @param service the content of the service file
   * @param source what stands behind the imports
   * @param without classes that are compiled but left out
   */
  static Path of(Path folder, String name, String service, String source, String... without)
      throws IOException {
    Path classes = Files.createDirectories(folder.resolve(name + "-classes"));
    Path file = Files.createDirectories(folder.resolve("src")).resolve(name + ".java");
    Files.writeString(
        file,
        "package acme;\nimport dev.weft.*;\nimport dev.weft.spi.*;\nimport java.util.*;\n"
            + source);
    StringWriter messages = new StringWriter();
    int code =
        ToolProvider.findFirst("javac")
            .orElseThrow()
            .run(
                new PrintWriter(messages),
                new PrintWriter(messages),
                "-proc:none",
                "-cp",
                api().toString(),
                "-d",
                classes.toString(),
                file.toString());
    if (code != 0) {
      throw new AssertionError(messages);
    }
    for (String left : without) {
      Files.delete(classes.resolve("acme").resolve(left + ".class"));
    }
    Path jar = folder.resolve(name + ".jar");
    try (OutputStream bytes = Files.newOutputStream(jar);
        JarOutputStream out = new JarOutputStream(bytes);
        Stream<Path> all = Files.walk(classes)) {
      out.putNextEntry(new JarEntry(SERVICE));
      out.write(service.getBytes(java.nio.charset.StandardCharsets.UTF_8));
      for (Path compiled : all.filter(Files::isRegularFile).toList()) {
        out.putNextEntry(new JarEntry(classes.relativize(compiled).toString()));
        Files.copy(compiled, out);
      }
    }
    return jar;
  }

  private static Path api() {
    try {
      return Path.of(Device.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  /** The jars as one argument. */
  static String path(List<Path> jars) {
    return String.join(java.io.File.pathSeparator, jars.stream().map(Path::toString).toList());
  }
}
