import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.spi.ToolProvider;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * Compiles the api of the baseline commit into a jar, which the build then compares the present one
 * with. Started by Maven in the folder of the api; see its pom.
 *
 * <p>Arguments: the commit, the folder to work in, the path of JSpecify's jar.
 */
void main(String[] arguments) throws IOException, InterruptedException {
  String commit = arguments[0];
  Path folder = Path.of(arguments[1]);
  Path jar = folder.resolve("weft-api.jar");
  Path stamp = folder.resolve("commit.txt");
  if (Files.exists(jar) && Files.exists(stamp) && Files.readString(stamp).equals(commit)) {
    return;
  }
  Files.createDirectories(folder);
  Path archive = folder.resolve("source.zip").toAbsolutePath();
  if (!archive(commit, archive)) {
    // A shallow clone: one commit more is all that is missing.
    git("fetch", "--quiet", "--depth", "1", "origin", commit);
    if (!archive(commit, archive)) {
      fail(
          "git does not have commit "
              + commit
              + ", the baseline of the api. In a shallow clone, run git fetch --unshallow; without"
              + " a clone, build with -Dapi.baseline.skip=true, which leaves the comparison out.");
    }
  }
  Path sources = folder.resolve("source");
  Path classes = folder.resolve("classes");
  List<String> javac = new ArrayList<>(List.of("--release", "25", "-proc:none", "-nowarn"));
  javac.addAll(List.of("-d", classes.toString(), "-p", arguments[2]));
  javac.addAll(unpack(archive, sources));
  run("javac", javac);
  run("jar", List.of("--create", "--file", jar.toString(), "-C", classes.toString(), "."));
  Files.writeString(stamp, commit);
}

boolean archive(String commit, Path file) throws IOException, InterruptedException {
  return git("archive", "--format=zip", "-o", file.toString(), commit, "src/main/java") == 0;
}

int git(String... arguments) throws IOException, InterruptedException {
  // A clone that belongs to another user, as in containers, is only read here.
  List<String> command = new ArrayList<>(List.of("git", "-c", "safe.directory=*"));
  command.addAll(List.of(arguments));
  try {
    return new ProcessBuilder(command)
        .redirectOutput(ProcessBuilder.Redirect.DISCARD)
        .redirectError(ProcessBuilder.Redirect.DISCARD)
        .start()
        .waitFor();
  } catch (IOException e) {
    fail("the comparison with the api's baseline needs git: " + e.getMessage());
    throw e;
  }
}

/** Writes the archive's Java files and returns their paths; what an earlier baseline left goes. */
List<String> unpack(Path archive, Path folder) throws IOException {
  if (Files.exists(folder)) {
    try (Stream<Path> old = Files.walk(folder)) {
      for (Path file : old.sorted(Collections.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }
  List<String> files = new ArrayList<>();
  try (ZipFile zip = new ZipFile(archive.toFile())) {
    for (ZipEntry entry : Collections.list(zip.entries())) {
      if (entry.getName().endsWith(".java")) {
        Path file = folder.resolve(entry.getName());
        Files.createDirectories(file.getParent());
        try (InputStream in = zip.getInputStream(entry)) {
          Files.copy(in, file);
        }
        files.add(file.toString());
      }
    }
  }
  return files;
}

void run(String tool, List<String> arguments) {
  int code =
      ToolProvider.findFirst(tool)
          .orElseThrow()
          .run(System.out, System.err, arguments.toArray(String[]::new));
  if (code != 0) {
    fail(tool + " failed on the api's baseline");
  }
}

void fail(String message) {
  System.err.println(message);
  System.exit(1);
}
